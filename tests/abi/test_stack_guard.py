"""The stack guard does what it is for: without it the same request ends the VM. (tests/envoy has the attacks in V8.)"""

import pytest
from proxywasm_build.build import Request
from proxywasm_build.cache import cached_build
from proxywasm_build.plugin import Options
from proxywasm_build.targets import ENVOY

from host_sim import SteppedSimulator
from tests.plugin_builds import CACHE, PLUGINS, built_plugin

DEEP = {"list json": "RecursionError", "tuple hash": "RecursionError", "endless getattr": "RecursionError"}


def outcome(sim: SteppedSimulator, attack: str) -> str | None:
    stream = sim.open_stream()
    stream.request_headers({":method": "GET", ":path": "/", ":authority": "a", "x-attack": attack})
    stream.response_headers({":status": "200"})
    return sim.observe(stream).header("x-outcome")


@pytest.mark.parametrize("attack", DEEP)
def test_recursion_is_an_error_in_python(attack: str) -> None:
    sim = SteppedSimulator(built_plugin("hostile:Hostile", "envoy"), "envoy", clusters={"llm": ["10.0.0.1:80"]})
    assert outcome(sim, attack) == DEEP[attack]
    assert outcome(sim, "none") == "none"
    sim.close()


@pytest.mark.parametrize("attack", ["list json", "tuple hash"])
def test_without_the_guard_it_is_a_trap(attack: str) -> None:
    request = Request("hostile:Hostile", ENVOY, (PLUGINS,), options=Options(stack_charge=0))
    unguarded = cached_build(request, CACHE / "unguarded")
    sim = SteppedSimulator(unguarded, "envoy", clusters={"llm": ["10.0.0.1:80"]})
    outcome(sim, attack)
    assert "call stack exhausted" in (sim.vm.dead or "")
    sim.close()
