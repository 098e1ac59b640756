"""The attacks of tests/envoy/test_hostile.py in the simulator: the VM lives there too."""

from collections.abc import Iterator

import pytest

from host_sim import Exchange, SteppedSimulator
from tests.hostile import BODIES, BUFFER_LIMIT_BYTES, UNCAUGHT
from tests.plugin_builds import built_plugin

CHUNK_SIZE = 1 << 20


@pytest.fixture(scope="module")
def sim() -> Iterator[SteppedSimulator]:
    module = built_plugin("hostile:Hostile", "envoy")
    clusters = {"llm": ["10.0.0.1:80"]}
    simulator = SteppedSimulator(module, "envoy", clusters=clusters, buffer_size_max=BUFFER_LIMIT_BYTES)
    yield simulator
    simulator.close()


def attack(sim: SteppedSimulator, name: str, body: bytes = b"") -> Exchange:
    stream = sim.open_stream()
    stream.request_headers({":method": "POST", ":path": "/", ":authority": "a", "x-attack": name}, not body)
    for start in range(0, len(body), CHUNK_SIZE):
        stream.request_body(body[start : start + CHUNK_SIZE], end_of_stream=start + CHUNK_SIZE >= len(body))
    if not stream.paused:
        stream.response_headers({":status": "200"})
    stream.abort()
    assert sim.vm.dead is None
    return sim.observe(stream)


def test_no_attack_kills_the_vm(sim: SteppedSimulator) -> None:
    names = attack(sim, "names").header("x-outcome")
    assert names
    outcomes = {name: attack(sim, name).header("x-outcome") for name in names.split(",")}
    assert len(outcomes) > 250
    assert {name for name, outcome in outcomes.items() if not outcome} == set()
    assert sum(outcome == "RecursionError" for outcome in outcomes.values()) > 50


@pytest.mark.parametrize("name", BODIES)
def test_bodies(sim: SteppedSimulator, name: str) -> None:
    body, expected = BODIES[name]
    assert attack(sim, "body", body).header("x-outcome") == expected
    assert attack(sim, "none").header("x-outcome") == "none"


@pytest.mark.parametrize("name", UNCAUGHT)
def test_what_is_not_caught_lets_the_request_go_on(sim: SteppedSimulator, name: str) -> None:
    exchange = attack(sim, name)
    assert (exchange.status, exchange.header("x-outcome")) == (200, "none")


def test_a_negative_result_harms_only_its_request(sim: SteppedSimulator) -> None:
    assert attack(sim, "negative").status == 0
    assert attack(sim, "none").status == 200
