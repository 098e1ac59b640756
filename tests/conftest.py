"""At the end of a run: how many tests ran on which host."""

from collections import Counter

import pytest

_HOSTS = {
    "native": "native guest (CPython)",
    "wasm": "wasm guest (wasmtime)",
    "envoy": "the real Envoy",
    "": "no guest, or one of its own",
}
_HOST_OF = pytest.StashKey[dict[str, str]]()


def _host_of(item: pytest.Item) -> str:
    """By the parameter that names it ("envoy" is also the name of a target); tests/envoy has no other host."""
    if item.nodeid.startswith("tests/envoy/"):
        return "envoy"
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    named = [parameters.get(name) for name in ("host_kind", "kind")]
    if "envoy" in named:
        return "envoy"
    return next((value for value in parameters.values() if value in ("native", "wasm")), "")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[_HOST_OF] = {item.nodeid: _host_of(item) for item in items}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    hosts = config.stash.get(_HOST_OF, {})
    outcomes: dict[str, Counter[str]] = {host: Counter() for host in _HOSTS}
    for outcome in ("passed", "failed", "error", "skipped", "xfailed"):
        for report in terminalreporter.stats.get(outcome, []):
            outcomes[hosts.get(report.nodeid, "")][outcome] += 1
    terminalreporter.section("where the tests ran")
    for host, counts in outcomes.items():
        if counts:
            shown = ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
            terminalreporter.write_line(f"{_HOSTS[host]:28} {shown}")
