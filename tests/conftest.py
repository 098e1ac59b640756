"""At the end of a run: how many tests ran on which host."""

import re
from collections import Counter

import pytest

_HOSTS = {
    "native": "native guest (CPython)",
    "wasm": "wasm guest (wasmtime)",
    "envoy": "the real Envoy",
    "": "no guest",
}


def _host_of(nodeid: str) -> str:
    """By the parameter that names it; tests/envoy has no other host."""
    path, _, name = nodeid.partition("::")
    parameters = re.split(r"[\[\]-]", name)[1:]
    named = next((host for host in ("native", "wasm", "envoy") if host in parameters), "")
    return "envoy" if path.startswith("tests/envoy/") else named


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    outcomes: dict[str, Counter[str]] = {host: Counter() for host in _HOSTS}
    for outcome in ("passed", "failed", "error", "skipped", "xfailed"):
        for report in terminalreporter.stats.get(outcome, []):
            outcomes[_host_of(report.nodeid)][outcome] += 1
    terminalreporter.section("where the tests ran")
    for host, counts in outcomes.items():
        if counts:
            shown = ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
            terminalreporter.write_line(f"{_HOSTS[host]:24} {shown}")
