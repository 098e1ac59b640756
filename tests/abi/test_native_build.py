"""The C extension as it is checked in: built from its sources, with the tables that Python knows."""

import ast
import importlib.util
import re
import subprocess
import sys

import pytest
from proxywasm.callbacks import CONTEXT_CALLBACKS
from proxywasm_build.targets import CALLBACKS, HIGRESS
from proxywasm_build.wasm import module as wasm

from .guest_build import LIBRARY, NATIVE, REPOSITORY

needs_ziglang = pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None, reason="ziglang is not installed; ./build.sh test installs it"
)


def names_in(table: str, macro: str) -> list[str]:
    return re.findall(rf"^{macro}\((\w+)", (NATIVE / table).read_text(), re.MULTILINE)


def check() -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(NATIVE / "build.py"), "--check"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs_ziglang
def test_the_library_is_what_its_sources_give():
    done = check()
    assert done.returncode == 0, done.stderr


@needs_ziglang
def test_the_build_does_not_depend_on_the_place(tmp_path):
    copy = tmp_path / "elsewhere" / "native"
    copy.mkdir(parents=True)
    for source in NATIVE.iterdir():
        if source.suffix in (".c", ".h", ".def", ".py"):
            (copy / source.name).write_bytes(source.read_bytes())
    subprocess.run([sys.executable, str(copy / "build.py")], check=True, capture_output=True)
    assert (copy / LIBRARY.name).read_bytes() == LIBRARY.read_bytes()


@needs_ziglang
def test_a_library_that_is_out_of_date_is_told(tmp_path):
    for source in NATIVE.iterdir():
        if source.is_file():
            (tmp_path / source.name).write_bytes(source.read_bytes())
    resp = tmp_path / "resp.c"
    resp.write_text(resp.read_text().replace("#define REPLY_DEPTH_MAX 32", "#define REPLY_DEPTH_MAX 31"))
    command = [sys.executable, str(tmp_path / "build.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is not what its sources give" in done.stderr


def test_context_callbacks_are_in_the_order_of_their_bits():
    assert tuple(names_in("context_callbacks.def", "CONTEXT_CALLBACK")) == CONTEXT_CALLBACKS


def test_the_module_offers_exactly_the_functions_of_the_protocol():
    tree = ast.parse((REPOSITORY / "abi" / "proxywasm" / "_host.py").read_text())
    protocol = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "HostModule")
    expected = [node.name for node in protocol.body if isinstance(node, ast.FunctionDef)]
    assert sorted(names_in("methods.def", "METHOD")) == sorted(expected)


def test_exports_have_the_signatures_of_the_abi():
    library = wasm.parse(LIBRARY.read_bytes())
    imported = len(library.imported(wasm.FUNC_KIND))
    signatures = {
        name: library.types[library.functions[index - imported]]
        for name, (kind, index) in library.exports.items()
        if kind == wasm.FUNC_KIND and name.startswith("proxy_")
    }
    assert signatures.pop("proxy_on_memory_allocate") == wasm.FuncType(bytes([wasm.I32]), bytes([wasm.I32]))
    assert signatures == CALLBACKS | HIGRESS.env
