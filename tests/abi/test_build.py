"""The build tool from end to end, on small plugins."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from proxywasm_build import cli, inspection
from proxywasm_build.build import Request, build
from proxywasm_build.component import parse_component
from proxywasm_build.componentize import componentize
from proxywasm_build.errors import BuildError
from proxywasm_build.functions import HostImport
from proxywasm_build.plugin import Options, link_plugin
from proxywasm_build.program import Program
from proxywasm_build.prune import PRUNABLE, prune
from proxywasm_build.sources import copy_sources
from proxywasm_build.static_data import StaticData
from proxywasm_build.targets import ENVOY, HIGRESS, TARGETS, Target
from proxywasm_build.wasm.module import parse

from host_sim import Exchange, SteppedSimulator, abi
from tests.plugin_builds import PLUGINS, built_plugin

SMALL = "small:Small"


@pytest.fixture(scope="module")
def component(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The component of the small plugin, for Envoy."""
    sources, workspace = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("work")
    copy_sources(SMALL, "envoy", (PLUGINS,), sources, keep_docstrings=False, keep_source=False)
    return componentize(sources, workspace)


def request_headers(module: Path | bytes, target: abi.Target, headers: dict[str, str]) -> Exchange:
    sim = SteppedSimulator(module, target, clusters={"llm": ["127.0.0.1:1"]})
    stream = sim.open_stream()
    stream.request_headers({":method": "GET", ":path": "/", ":authority": "a", **headers})
    exchange = sim.observe(stream)
    sim.close()
    return exchange


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_the_module_is_what_the_target_loads(target: Target):
    data = built_plugin(SMALL, target.name).read_bytes()
    assert list(inspection.problems(data, target)) == []
    found = inspection.inspect_module(data)
    assert found.target == target.name
    assert found.abi_markers == target.abi_markers
    assert set(found.features) <= {"mvp", "sign-ext", "nontrapping-fptoint", "bulk-memory"}
    assert set(found.imports) <= {f"env.{name}" for name in target.env} | {"wasi_snapshot_preview1.random_get"}
    assert found.total_size <= 15_000_000
    assert found.gzip_size <= 4_500_000
    assert found.memory_pages <= 240


def test_only_the_callbacks_that_the_plugin_overrides_are_exported():
    found = inspection.inspect_module(built_plugin(SMALL, "envoy").read_bytes())
    about_streams = {name for name in found.exports if "request" in name or "response_" in name or "stream" in name}
    assert about_streams == {"proxy_on_request_headers"}
    assert "proxy_on_tick" not in found.exports
    assert "proxy_on_redis_call_response" not in found.exports


def test_the_link_is_deterministic(component: bytes):
    first, second = (link_plugin(component, ENVOY, Options()).module for _ in range(2))
    assert first == second


def test_each_switch_keeps_what_it_names(component: bytes):
    plain = link_plugin(component, ENVOY, Options())
    everything = link_plugin(
        component, ENVOY, Options(keep_free_heap=True, keep_c_modules=True, keep_names=True, stack_charge=0)
    )
    assert plain.pruned_modules == tuple(sorted(PRUNABLE.keys() - {"unicodedata"}))  # the plugin imports that
    assert plain.cleared_size > 900_000
    assert plain.scrubbed_size > 1_000_000
    assert "name" not in parse(plain.module).custom
    assert everything.pruned_modules == ()
    assert (everything.cleared_size, everything.scrubbed_size) == (0, 0)
    assert "_PyEval_EvalFrameDefault" in parse(everything.module).function_names().values()
    exchanges = [request_headers(linked.module, "envoy", {"x-digest": "1"}) for linked in (plain, everything)]
    digests = [dict(exchange.upstream_headers or [])["x-digest"] for exchange in exchanges]
    assert len(digests[0]) == 8
    assert digests[0] == digests[1]  # nothing that was cleared is missed


@pytest.mark.parametrize(("imported", "is_pruned"), [("json", True), ("urllib.parse", False), ("unicodedata", False)])
def test_a_module_that_another_imports_late_stays(component: bytes, imported: str, is_pruned: bool):
    program = Program(parse_component(component))
    log = HostImport("env", "proxy_log", ENVOY.env["proxy_log"])
    pruned = prune(program, [imported], log, StaticData(program))
    assert ("unicodedata" in pruned.modules) == is_pruned


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("math", "math"),
        ("_json", "_json"),
        ("_sqlite3", "ModuleNotFoundError"),
        ("pyexpat", "ModuleNotFoundError"),
        ("os", "os"),
        ("runpy", "ModuleNotFoundError"),
    ],
)
def test_a_pruned_module_is_an_import_error(wanted: str, found: str):
    exchange = request_headers(built_plugin(SMALL, "envoy"), "envoy", {"x-module": wanted})
    assert ("x-import", found) in (exchange.upstream_headers or [])


@pytest.mark.parametrize(("debug", "found"), [(False, "ModuleNotFoundError"), (True, "ast")])
def test_a_debug_build_keeps_what_only_the_build_needs(debug: bool, found: str):
    exchange = request_headers(built_plugin(SMALL, "envoy", debug), "envoy", {"x-module": "ast"})
    assert ("x-import", found) in (exchange.upstream_headers or [])


def test_docstrings_are_shipped_only_on_request():
    docstring = b"docstring-that-must-not-be-shipped"
    assert docstring not in built_plugin(SMALL, "envoy").read_bytes()
    assert docstring in built_plugin(SMALL, "envoy", debug=True).read_bytes()


def test_tracebacks_name_the_line_and_with_debug_show_it():
    for debug in (False, True):
        exchange = request_headers(built_plugin(SMALL, "envoy", debug), "envoy", {"x-fail": "1"})
        log = "\n".join(record.message for record in exchange.logs)
        assert 'small.py", line 14, in fail' in log
        assert ("the line that a readable traceback shows" in log) == debug
        assert exchange.upstream_headers is not None  # the request went on


def test_a_plugin_that_does_not_import_is_told_with_its_own_traceback():
    with pytest.raises(BuildError) as caught:
        build(Request("broken_import:Plugin", ENVOY, (PLUGINS,)))
    lines = str(caught.value).splitlines()
    assert lines[0] == "the plugin does not import in the guest:"
    assert '  File "broken_import.py", line 3, in <module>' in lines
    assert lines[-1] == "ModuleNotFoundError: No module named 'no_such_module'"
    assert "proxywasm_entry" not in str(caught.value)


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        ("small", "MODULE:CLASS"),
        ("nowhere:Plugin", "the plugin's module nowhere was expected in"),
        ("small:Missing", "module small has no class Missing"),
        ("small:SmallHttp", "is no subclass of proxywasm.RootContext"),
    ],
)
def test_a_plugin_that_is_not_there(plugin: str, message: str, tmp_path: Path):
    arguments = ["build", plugin, "--python-path", str(PLUGINS), "-o", str(tmp_path / "out.wasm")]
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output.replace("Traceback (most recent call last):\nImportError", "")
    assert not (tmp_path / "out.wasm").exists()


def test_a_component_of_another_layout():
    with pytest.raises(BuildError, match="a component was expected from componentize-py"):
        parse_component(b"\0asm\1\0\0\0")
    with pytest.raises(BuildError, match=r"use the pinned|Install the pinned"):
        parse_component(b"\0asm\r\0\1\0" + b"\x02\x03\x01\x00\x07")


def test_a_cut_off_component(component: bytes):
    with pytest.raises(BuildError):
        link_plugin(component[: len(component) // 2], ENVOY, Options())


def test_what_a_target_lacks_is_found():
    higress_module = built_plugin(SMALL, "higress").read_bytes()
    found = list(inspection.problems(higress_module, ENVOY))
    assert any("proxy_redis_call is imported, which envoy does not offer" in line for line in found)
    assert any("ABI markers" in line for line in found)
    assert list(inspection.problems(higress_module, HIGRESS)) == []


def test_inspect_prints_json():
    module = built_plugin(SMALL, "envoy")
    result = CliRunner().invoke(cli.main, ["inspect", str(module), "--json"])
    assert result.exit_code == 0
    found = json.loads(result.output)
    assert found["target"] == "envoy"
    assert found["is_valid"] is True
    assert found["total_size"] == module.stat().st_size


def test_inspect_of_something_else(tmp_path: Path):
    other = tmp_path / "other.wasm"
    other.write_bytes(b"PK\x03\x04 not wasm")
    result = CliRunner().invoke(cli.main, ["inspect", str(other)])
    assert result.exit_code == 1
    assert "a core WebAssembly module was expected" in result.output
