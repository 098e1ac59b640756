"""What the build leaves out of the snapshot: tools that only the plugin's import needs, and frozen modules."""

import pytest

from host_sim import Exchange, SteppedSimulator
from tests.plugin_builds import built_plugin

CONTENT = "build_tools:Content"
WANTING = "build_tools_wanted:Wanting"
CHECKING = "build_tools_protocol:Checking"


def act(plugin: str, action: str = "") -> tuple[str, Exchange]:
    """What an action of a plugin answers."""
    sim = SteppedSimulator(built_plugin(plugin, "envoy"), "envoy", clusters={"llm": ["127.0.0.1:1"]})
    stream = sim.open_stream()
    stream.request_headers({":method": "GET", ":path": "/", ":authority": "a", "x-action": action})
    exchange = sim.observe(stream)
    sim.close()
    return dict(exchange.upstream_headers or []).get("x-result", ""), exchange


def test_classes_that_were_made_at_build_time_work():
    expected = "Point(x=1, y=3) {'x': 1, 'y': 3} ['x', 'y'] Colour.RED Pair(left=0, right=2) True"
    assert act(CONTENT, "use_what_exists")[0] == expected


def test_an_exception_is_logged_with_its_traceback():
    result, exchange = act(CONTENT, "log_an_exception")
    assert result == "logged"
    assert "KeyError: 'on purpose'" in "\n".join(record.message for record in exchange.logs)


@pytest.mark.parametrize("action", ["import_a_tool", "make_a_class"])
def test_what_needs_a_tool_fails_and_says_what_to_do(action: str):
    result, _ = act(CONTENT, action)
    assert result.startswith("ModuleNotFoundError: ")
    assert "was left out of the module" in result
    assert "if the plugin imports it, it stays" in result


@pytest.mark.parametrize(("plugin", "expected"), [(WANTING, "(a, *, b=1)"), (CHECKING, "False")])
def test_tools_that_may_be_wanted_stay(plugin: str, expected: str):
    assert act(plugin)[0] == expected


def test_the_tools_make_a_module_larger():
    sizes = [built_plugin(plugin, "envoy").stat().st_size for plugin in (CONTENT, WANTING)]
    assert sizes[1] - sizes[0] > 300_000
