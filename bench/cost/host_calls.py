"""A callback by itself, and what one statement in it adds: the floor under the cost of every request."""

from collections.abc import Iterator

from host_sim import SteppedSimulator, guest_factory

from ..modules import plugin
from ..plugins.probe import REPEATS, WORK
from ..requests import CLUSTER, ENDPOINTS, HEADERS
from .measured import Cost

_TRIVIAL = "callback/that-does-nothing"
_UNWANTED = "callback/that-nobody-wants"
_WORK = {work: f"host-call/{work}" for work in WORK if work != "nothing"}
_LIMITS = {_TRIVIAL: 2000, _UNWANTED: 100, _WORK["get_header"]: 1300, _WORK["set_property"]: 900}

HOST_CALLS = (_TRIVIAL, _UNWANTED, *_WORK.values())


def host_call_costs() -> Iterator[Cost]:
    """Of the plugin plugins/probe.py, which is built if need be."""
    sim = SteppedSimulator(guest_factory(plugin("probe"), fuel=True), clusters={CLUSTER: ENDPOINTS})
    trivial = _instructions(sim, "nothing")
    yield _cost(_TRIVIAL, trivial["proxy_on_request_headers"])
    yield _cost(_UNWANTED, trivial["proxy_on_response_body"])
    for work, name in _WORK.items():
        extra = _instructions(sim, work)["proxy_on_request_body"] - trivial["proxy_on_request_body"]
        yield _cost(name, extra // REPEATS)
    sim.close()


def _cost(name: str, instructions: int) -> Cost:
    return Cost(name=name, instructions=instructions, limit=_LIMITS.get(name))


def _instructions(sim: SteppedSimulator, work: str) -> dict[str, int]:
    """Instructions by callback of the second of two equal requests: the first warms CPython's caches."""
    for _ in range(2):
        stream = sim.open_stream()
        stream.request_headers({**HEADERS, "x-work": work}, end_of_stream=False)
        stream.request_body(b"{}", end_of_stream=True)
        stream.response_headers({":status": "200"}, end_of_stream=False)
        stream.response_body(b"data", end_of_stream=True)
    return sim.observe(stream).instructions
