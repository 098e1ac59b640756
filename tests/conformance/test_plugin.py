"""The plugin's start, contexts, the log, time, randomness, foreign functions."""

import time
from typing import Any

import pytest

from tests.conformance.probe import OK, Probe, refused


def results(probe: Probe, *operations: Any) -> list[object]:
    return probe.play({"request_headers": operations}).results("request_headers")


def test_start(probe: Probe) -> None:
    """The root context: on_vm_start, then on_configure, with the sizes of their configurations"""
    seen = probe.root()
    assert seen.phases == ["vm_start", "configure"]
    assert (seen.arguments("vm_start"), seen.arguments("configure")) == ([[20]], [[17]])


def test_configuration(probe: Probe) -> None:
    """The VM's configuration is readable in both, the plugin's in on_configure only"""
    seen = probe.root()
    assert seen.results("vm_start")[:2] == ["the vm configuration", None]
    assert seen.results("configure")[:2] == ["the configuration", "the vm configuration"]


def test_identity(probe: Probe) -> None:
    """plugin_name, plugin_root_id, plugin_vm_id in on_configure"""
    assert probe.root().results("configure")[2:5] == ["conformance", "conformance", "plain"]


def test_stream_calls_in_root(probe: Probe) -> None:
    """Stream calls in the root context: no headers, an empty body; continue_stream and a local reply are OK"""
    assert probe.root().results("configure")[5:9] == [[], "", OK, OK]


def test_refused_in_root(probe: Probe) -> None:
    """set_property and done in the root context: NOT_FOUND; an unknown context: BAD_ARGUMENT"""
    found = probe.root().results("configure")
    assert (found[9], found[11], found[12]) == (refused("NOT_FOUND"), refused("NOT_FOUND"), refused("BAD_ARGUMENT"))


def test_done(probe: Probe) -> None:
    """done in a stream that is not being ended: NOT_FOUND"""
    assert results(probe, ["done"]) == [refused("NOT_FOUND")]


def test_effective_context(probe: Probe) -> None:
    """set_effective_context: unknown is BAD_ARGUMENT, 0, the root and the own one are OK"""
    assert results(
        probe,
        ["set_effective_context", 999_999],
        ["set_effective_context", 0],
        ["set_effective_context", "$root"],
        ["get_header_map_value", 0, ":path"],
        ["set_effective_context", "$context"],
        ["get_header_map_value", 0, ":path"],
    ) == [refused("BAD_ARGUMENT"), OK, OK, refused("BAD_ARGUMENT"), OK, "/"]


def test_tick(probe: Probe) -> None:
    """A tick comes with the root as the current context"""
    seen = probe.play(
        {
            "request_headers": [["at_tick", 1, "later"], ["return", 1]],
            "later": [
                ["get_header_map_value", 0, ":path"],
                ["set_effective_context", "$context"],
                ["get_header_map_value", 0, ":path"],
                ["continue_stream", 0],
            ],
        }
    )
    assert seen.results("later") == [refused("BAD_ARGUMENT"), OK, "/", OK]


def test_log_levels(probe: Probe) -> None:
    """Levels 0 to 5 are OK, an unknown one is BAD_ARGUMENT"""
    found = results(probe, *(["log", level, "message"] for level in (0, 1, 2, 3, 4, 5, 9)))
    assert found == [*[OK] * 6, refused("BAD_ARGUMENT")]


def test_get_log_level(probe: Probe) -> None:
    """get_log_level: the level of the host's log"""
    assert results(probe, ["get_log_level"]) == [1]  # both run at debug


def test_log_is_told(probe: Probe) -> None:
    """What is logged, and what is printed to stdout (info) and stderr (error), is in the host's log"""
    found = results(probe, ["log", 3, "a warning"], ["log", 2, "the last"])
    if probe.host.kind == "envoy":
        probe.host.envoy.wait_for_log("the last")  # type: ignore[attr-defined]
    logged = [(line.level.name, line.message) for line in probe.host.logs()]
    assert found == [OK, OK]
    assert {("WARN", "a warning"), ("INFO", "the last")} <= set(logged)


def test_time(probe: Probe) -> None:
    """The current time in nanoseconds since 1970, also for Python's own clock"""
    before_ns = time.time_ns()
    told, read = results(probe, ["get_current_time_nanoseconds"], ["time_ns"])
    after_ns = time.time_ns()
    margin_ns = 1_000_000_000  # Envoy's event loop caches the time
    assert isinstance(told, int)
    assert isinstance(read, int)
    assert before_ns - margin_ns <= told <= after_ns + margin_ns
    assert before_ns - margin_ns <= read <= after_ns + margin_ns


def test_random(probe: Probe) -> None:
    """Random bytes and Python's random differ from request to request"""
    operations = [["urandom", 16], ["random"]]
    first, second = results(probe, *operations), results(probe, *operations)
    assert first[0] != second[0]
    assert first[1] != second[1]


@pytest.mark.parametrize(
    "call",
    [
        ["redis_init", "r", "", "", 1],
        ["redis_call", "r", ""],
        ["get_upstream_hosts"],
        ["set_upstream_override_host", "1.2.3.4:5"],
        ["inject_encoded_data_to_filter_chain", "", True],
    ],
    ids=lambda call: call[0],
)
def test_higress_calls(probe: Probe, call: list[Any]) -> None:
    """Higress's calls on stock Envoy: UNIMPLEMENTED (the SDK answers; an import would fail the load)"""
    assert results(probe, call) == [refused("UNIMPLEMENTED")]


def test_unknown_function(probe: Probe) -> None:
    """A foreign function that does not exist, Higress's get_log_level among them: NOT_FOUND"""
    calls = [["call_foreign_function", name, ""] for name in ("nothing", "get_log_level")]
    assert results(probe, *calls) == [refused("NOT_FOUND")] * 2


def test_clear_route_cache(probe: Probe) -> None:
    """The foreign function clear_route_cache: OK, nothing is returned"""
    assert results(probe, ["call_foreign_function", "clear_route_cache", ""]) == [""]


def test_compress(probe: Probe) -> None:
    """The foreign functions compress and uncompress; what is no zlib stream: SERIALIZATION_FAILURE"""
    assert results(
        probe, ["call_foreign_function", "compress", ""], ["call_foreign_function", "uncompress", "junk"]
    ) == ["x\x9c\x03\0\0\0\0\1", refused("SERIALIZATION_FAILURE")]


@pytest.mark.parametrize("name", ["set_envoy_filter_state", "declare_property"])
def test_malformed_arguments(probe: Probe, name: str) -> None:
    """Foreign functions whose argument cannot be parsed: BAD_ARGUMENT"""
    assert results(probe, ["call_foreign_function", name, "junk"]) == [refused("BAD_ARGUMENT")]


@pytest.mark.differs("the simulator has no cryptography: the functions are NOT_FOUND there")
@pytest.mark.parametrize("name", ["sign", "verify_signature"])
def test_signatures(probe: Probe, name: str) -> None:
    """The foreign functions sign and verify_signature are there"""
    assert results(probe, ["call_foreign_function", name, "junk"]) == [refused("BAD_ARGUMENT")]
