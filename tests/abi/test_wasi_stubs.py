"""What CPython sees of an operating system inside a gateway."""

import json
from typing import Any

import pytest

from host_sim import LogRecord, SteppedSimulator
from tests.plugin_builds import built_plugin


@pytest.fixture(scope="module")
def observed() -> tuple[dict[str, Any], list[LogRecord]]:
    """What the probe saw, and what was logged meanwhile."""
    sim = SteppedSimulator(built_plugin("wasi_probe:WasiProbe", "envoy"), "envoy", clusters={"web": ["10.0.0.1:80"]})
    sim.advance(1_234_567)
    stream = sim.open_stream()
    stream.request_headers({":method": "GET", ":path": "/", ":authority": "a"})
    exchange = sim.observe(stream)
    sim.close()
    assert sim.vm.dead is None
    return json.loads(dict(exchange.upstream_headers or [])["x-observations"]), exchange.logs


def test_time_is_the_hosts(observed: tuple[dict[str, Any], list[LogRecord]]) -> None:
    seen, _ = observed
    assert seen["time"] == pytest.approx(seen["monotonic"] / 1e9)
    assert round(seen["time"] % 1000, 3) == 234.567  # the clock starts at a whole multiple of 1,000 s
    assert seen["sleep"] is None


def test_random_bytes_are_the_hosts(observed: tuple[dict[str, Any], list[LogRecord]]) -> None:
    seen, _ = observed
    assert 0 <= seen["random"] < 1
    assert len(bytes.fromhex(seen["urandom"])) == 8
    assert seen["urandom"] != "00" * 8


@pytest.mark.parametrize(
    ("action", "result"),
    [
        ("open", "FileNotFoundError"),
        ("listdir", "FileNotFoundError"),
        ("socket", "OSError"),
        ("stdin", ""),
        ("environ", {}),
        ("argv", []),
    ],
)
def test_the_rest_is_not_there(action: str, result: object, observed: tuple[dict[str, Any], list[LogRecord]]) -> None:
    seen, _ = observed
    assert seen[action] == result


def test_output_is_logged_line_by_line(observed: tuple[dict[str, Any], list[LogRecord]]) -> None:
    _, logs = observed
    lines = [(record.level.name, record.message.rstrip("\n")) for record in logs]
    assert ("INFO", "to stdout") in lines
    assert ("ERROR", "to stderr") in lines
    assert ("INFO", "raw stdout") in lines


def test_what_is_missing_names_itself_in_the_log(observed: tuple[dict[str, Any], list[LogRecord]]) -> None:
    _, logs = observed
    missing = [record.message for record in logs if "not available in a gateway" in record.message]
    assert "wasi:sockets/tcp-create-socket create-tcp-socket: not available in a gateway" in missing
