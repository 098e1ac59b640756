"""Imports point one way only, and what is foreign is imported in one place: read from the code, as design decided it.

abi/proxywasm (SDK) <- filter/ai_load_balancer (driver) -> its policies; host_sim takes from the SDK only what describes
the ABI; the build tool and the simulator are in no guest.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SDK = ROOT / "abi" / "proxywasm"
BUILD_TOOL = ROOT / "abi" / "proxywasm_build"
FILTER = ROOT / "filter" / "ai_load_balancer"
POLICIES = FILTER / "policies"
HOST_SIM = ROOT / "host_sim"

JUDGED = {f"ai_load_balancer.config{part}" for part in ("", ".schema", ".wasm_plugin")}
FIRST_PARTY = {"proxywasm", "proxywasm_build", "ai_load_balancer", "host_sim", "_proxywasm"}


def imported_modules(file: Path) -> Iterator[str]:
    """The absolute names of all modules that a file imports, relative imports resolved."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield resolve(file, node)


def resolve(file: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        assert node.module
        return node.module
    base = next(base for base in (ROOT / "abi", ROOT / "filter", ROOT) if file.is_relative_to(base))
    package = file.relative_to(base).parts[: -node.level]
    return ".".join((*package, *(node.module or "").split("."))).rstrip(".")


def imports_under(folder: Path) -> dict[str, set[str]]:
    """{file, relative to the repository: the modules that it imports}"""
    files = sorted(folder.rglob("*.py"))
    assert files, f"no Python files under {folder}"
    return {str(file.relative_to(ROOT)): set(imported_modules(file)) for file in files}


def root_of(module: str) -> str:
    return module.partition(".")[0]


def is_standard(module: str) -> bool:
    return root_of(module) in sys.stdlib_module_names or root_of(module) in ("_sha1", "__future__")


def test_the_sdk_imports_the_standard_library_only():
    for file, modules in imports_under(SDK).items():
        foreign = {module for module in modules if not is_standard(module)}
        assert {root_of(module) for module in foreign} <= {"proxywasm", "_proxywasm"}, (file, foreign)


def test_the_policies_import_nothing_but_each_other():
    for file, modules in imports_under(POLICIES).items():
        foreign = {module for module in modules if not is_standard(module)}
        assert all(module.startswith("ai_load_balancer.policies") for module in foreign), (file, foreign)


@pytest.mark.parametrize("module", ["random", "time", "os", "io", "socket", "logging", "datetime"])
def test_the_policies_have_no_clock_no_chance_and_no_output(module):
    for file, modules in imports_under(POLICIES).items():
        assert module not in {root_of(name) for name in modules}, file


def test_the_filter_imports_itself_the_sdk_and_the_standard_library():
    for file, modules in imports_under(FILTER).items():
        foreign = {module for module in modules if not is_standard(module)}
        assert {root_of(module) for module in foreign} <= {"ai_load_balancer", "proxywasm"}, (file, foreign)


def test_the_filter_uses_the_public_part_of_the_sdk():
    for file, modules in imports_under(FILTER).items():
        assert not {module for module in modules if module.startswith("proxywasm._")}, file


def test_the_build_tool_and_the_simulator_are_in_no_guest():
    for folder in (SDK, FILTER):
        for file, modules in imports_under(folder).items():
            assert not {root_of(module) for module in modules} & {"proxywasm_build", "host_sim"}, file


def test_nothing_below_imports_the_simulator():
    for file, modules in imports_under(BUILD_TOOL).items():
        assert not {root_of(module) for module in modules} & {"host_sim", "ai_load_balancer"}, file


def test_the_simulator_takes_from_the_sdk_what_describes_the_abi():
    allowed = {"proxywasm.enums", "proxywasm.callbacks", "proxywasm._host", "proxywasm.errors"}
    builder = "host_sim/pytest_plugin.py"  # a fixture builds the .wasm of the plugin under test
    judge = "host_sim/cli_config.py"  # `ailb check` is the filter's own reading of a configuration
    for file, modules in imports_under(HOST_SIM).items():
        if file == judge:
            assert {m for m in modules if root_of(m) == "ai_load_balancer"} <= JUDGED
            continue
        ours = {module for module in modules if root_of(module) in FIRST_PARTY - {"host_sim"}}
        if file == builder:
            ours -= {"proxywasm_build.build", "proxywasm_build.cache", "proxywasm_build.targets"}
        assert ours <= allowed, (file, ours - allowed)


def importers(module: str, *folders: Path) -> list[str]:
    found = [imports_under(folder) for folder in folders]
    return [file for files in found for file, modules in files.items() if module in {root_of(name) for name in modules}]


def test_one_file_imports_the_extension():
    assert importers("_proxywasm", SDK, BUILD_TOOL, FILTER, HOST_SIM) == ["abi/proxywasm/_host.py"]


def test_wasmtime_is_imported_by_the_wasm_guest_of_the_simulator_and_by_the_build_tools_validation():
    assert importers("wasmtime", SDK, BUILD_TOOL, FILTER, HOST_SIM) == [
        "abi/proxywasm_build/validation.py",
        "host_sim/wasm_crossing.py",
        "host_sim/wasm_guest.py",
    ]
