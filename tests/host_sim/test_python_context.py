"""The plugin's own objects, seen through the native guest."""

import pytest

from host_sim import SteppedSimulator, UsageError
from tests.plugin_builds import PLUGINS, built_plugin

CLUSTERS = {"web": ["10.0.0.1:80"]}
HEADERS = {":method": "GET", ":path": "/", ":authority": "a"}


def test_the_objects_of_a_stream_and_of_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGINS))
    sim = SteppedSimulator("hostile:Hostile", "envoy", clusters=CLUSTERS)
    stream = sim.open_stream()
    stream.request_headers({**HEADERS, "x-attack": "none"})
    assert sim.python_context(stream).attack == "none"
    assert type(sim.python_context()).__name__ == "Hostile"
    stream.abort()
    with pytest.raises(UsageError, match="the plugin has no context 2"):
        sim.python_context(stream)
    sim.close()


def test_a_module_is_closed() -> None:
    sim = SteppedSimulator(built_plugin("hostile:Hostile", "envoy"), "envoy", clusters=CLUSTERS)
    with pytest.raises(UsageError, match="on the native guest only"):
        sim.python_context()
    sim.close()
