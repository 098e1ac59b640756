"""Wasm instructions per callback, per host call and per request: wasmtime's fuel, the same on every machine.

A budget is what the project has set itself; `GO_REQUEST` is what the Go plugin ai-load-balancer spends on the same
request (1 KB body, 3 endpoints), measured on the same wasmtime.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from host_sim import SteppedRedis, SteppedSimulator, guest_factory

from .modules import artifact, plugin
from .plugins.probe import REPEATS, WORK
from .requests import CLUSTER, ENDPOINTS, ENVOY_CONFIG, HEADERS, HIGRESS_CONFIG, REDIS, play

GO_REQUEST = 886_000

_REQUESTS = 21
_BUDGETS = {"get_header": 1300, "set_property": 900}


@dataclass(frozen=True, slots=True)
class Cost:
    """Instructions of one thing; `budget` is the most it may cost, if there is such a limit."""

    name: str
    instructions: int
    budget: int | None = None

    @property
    def is_within_budget(self) -> bool:
        return self.budget is None or self.instructions <= self.budget


def costs() -> Iterator[Cost]:
    """All that is measured, in the order of a report."""
    yield from callback_costs()
    yield from request_costs()


def callback_costs() -> Iterator[Cost]:
    """A callback by itself, and what one statement in it adds."""
    sim = SteppedSimulator(guest_factory(plugin("probe"), fuel=True), clusters={CLUSTER: ENDPOINTS})
    spent = {work: _work(sim, work) for work in WORK}
    trivial = spent["nothing"]
    yield Cost("a trivial Python callback", trivial["proxy_on_request_headers"], 2000)
    yield Cost("a callback that nobody wants", trivial["proxy_on_response_body"], 100)
    for work in WORK:
        if work != "nothing":
            extra = spent[work]["proxy_on_request_body"] - trivial["proxy_on_request_body"]
            yield Cost(f"{work}, from Python", extra // REPEATS, _BUDGETS.get(work))
    sim.close()


def _work(sim: SteppedSimulator, work: str) -> dict[str, int]:
    """Instructions by callback of the second of two equal requests: the first warms CPython's caches."""
    for _ in range(2):
        stream = sim.open_stream()
        stream.request_headers({**HEADERS, "x-work": work}, end_of_stream=False)
        stream.request_body(b"{}", end_of_stream=True)
        stream.response_headers({":status": "200"}, end_of_stream=False)
        stream.response_body(b"data", end_of_stream=True)
    return sim.observe(stream).instructions


def request_costs() -> Iterator[Cost]:
    """Whole requests of global_least_request over 3 endpoints, from the stream's creation to its deletion."""
    redis = SteppedRedis()
    higress = SteppedSimulator(
        guest_factory(artifact("higress"), fuel=True),
        "higress",
        HIGRESS_CONFIG,
        {CLUSTER: ENDPOINTS},
        {REDIS: redis},
        log_level=2,
    )
    with_redis = [play(higress, redis) for _ in range(_REQUESTS)]
    yield _request_cost("one request, higress (counts in Redis)", with_redis, 200_000)
    higress.close()
    envoy = SteppedSimulator(
        guest_factory(artifact("envoy"), fuel=True),
        "envoy",
        ENVOY_CONFIG,
        {CLUSTER: ENDPOINTS},
        log_level=2,
    )
    yield _request_cost("one request, envoy (counts in shared data)", [play(envoy) for _ in range(_REQUESTS)], None)
    envoy.close()


def _request_cost(name: str, requests: list[int], budget: int | None) -> Cost:
    return Cost(name, int(median(requests[1:])), budget)  # the first one warms up
