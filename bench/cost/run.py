"""Plays the requests of a case in a stepped simulator and counts what every callback spends.

Each request is a conversation of its own, its answer is streamed in CHUNKS parts, and Redis answers at once. Time
passes only while the model thinks; ticks that fall due meanwhile belong to no request.
"""

import fnmatch
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean, median

from proxywasm.enums import LogLevel

from host_sim import Endpoint, HttpStream, SteppedRedis, SteppedSimulator, guest_factory
from host_sim.guest import GuestFactory
from host_sim.records import CallbackRecord

from ..engine_texts import vllm
from ..modules import DIST, artifact
from .cases import HASH_HEADER, REDIS_CLUSTER, Case, cases, services
from .host_calls import HOST_CALLS, host_call_costs
from .measured import Cost

CHUNKS = 50
CHAT_SEEDS = 10  # different conversations, played in turn
MODEL_LATENCY_MS = 50.0

_CLUSTER = "outbound|80||llm.static"
_CLUSTER_HEADER = "x-higress-target-cluster"
_ON_CHUNK = "proxy_on_response_body"
_ON_TICK = "proxy_on_tick"
_HEADERS = {
    ":method": "POST",
    ":path": "/v1/chat/completions",
    ":authority": "llm.example",
    "content-type": "application/json",
    "x-request-id": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
}


@dataclass(frozen=True, slots=True)
class Effort:
    """How many requests are played before those that count, and of those; the latter are a multiple of ten."""

    warm_up: int
    requests: int


MANY = Effort(warm_up=20, requests=100)


def case_names() -> list[str]:
    return [*HOST_CALLS, *(case.name for case in cases())]


def costs(patterns: Sequence[str] = (), effort: Effort = MANY, dist: Path = DIST) -> Iterator[Cost]:
    """The costs of all cases, or of those whose name is like one of the patterns, which may have * ? [...].

    `dist` holds the modules of the filter. Raises FileNotFoundError if one is missing, and RuntimeError if a request
    was not routed by the policy: then its cost means nothing.
    """
    if any(_is_wanted(name, patterns) for name in HOST_CALLS):
        yield from (cost for cost in host_call_costs() if _is_wanted(cost.name, patterns))
    for case in cases():
        if _is_wanted(case.name, patterns):
            yield measure(case, effort, _guest(artifact(case.target, dist)))


def _is_wanted(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


@cache  # two targets: compiled once each
def _guest(module: Path) -> GuestFactory:
    return guest_factory(module, fuel=True)


def measure(case: Case, effort: Effort, guest: GuestFactory) -> Cost:
    """The median; where a text changes now and then, the mean, so that the dear requests count."""
    average = mean if case.new_scrape_every else median
    gateway = _Gateway(case, guest)
    try:
        spent = [gateway.play(number) for number in range(effort.warm_up + effort.requests)]
    finally:
        gateway.close()
    measured = spent[effort.warm_up :]
    totals = [request.callbacks.total() for request in measured]
    ticks = [tick for request in measured for tick in request.ticks]
    names = sorted({name for request in measured for name in request.callbacks})
    return Cost(
        name=case.name,
        instructions=round(average(totals)),
        first=spent[0].callbacks.total(),
        most=max(totals),
        chunk=round(median(request.chunk for request in measured)),
        tick=round(median(ticks)) if ticks else None,
        go=case.go,
        limit=round(case.go * case.ratio_max) if case.go and case.ratio_max else None,
        callbacks={name: round(average([request.callbacks[name] for request in measured])) for name in names},
    )


@dataclass(frozen=True, slots=True)
class _Spent:
    """One request: instructions by callback, of the dearest chunk that is not the first one, and of each tick."""

    callbacks: Counter[str]
    chunk: int
    ticks: list[int]


class _Gateway:
    """A simulator that is set up for a case."""

    def __init__(self, case: Case, guest: GuestFactory) -> None:
        self._case = case
        self._bodies = [case.make_body(case.shape, seed) for seed in range(CHAT_SEEDS)]
        self._scrapes = 0
        self._endpoints = [Endpoint(f"10.0.{i // 250}.{i % 250 + 1}:8000") for i in range(case.endpoints)]
        clusters: dict[str, list[Endpoint | str]] = {_CLUSTER: [*self._endpoints]}
        if case.chooses_cluster:
            clusters = {name: ["10.0.0.1:8000"] for name in services(case.endpoints)}
        self._sim = SteppedSimulator(
            guest,
            case.target,
            _configuration(case, [endpoint.address for endpoint in self._endpoints]),
            clusters,
            {REDIS_CLUSTER: SteppedRedis()},
            log_level=LogLevel.INFO,
            cluster_header=_CLUSTER_HEADER if case.chooses_cluster else "",
        )
        if case.has_metrics:
            for position in range(case.endpoints):
                self._scrape(position)

    def close(self) -> None:
        self._sim.close()

    def play(self, number: int) -> _Spent:
        """Plays one request to its end."""
        case, sim = self._case, self._sim
        if case.new_scrape_every and number % case.new_scrape_every == 0:
            self._scrape(number // case.new_scrape_every % case.endpoints)
        sim.vm.trace.callbacks.clear()
        stream = sim.open_stream()
        stream.request_headers({**_HEADERS, HASH_HEADER: f"consumer-{number}"}, end_of_stream=False)
        self._answer_lease()  # what was decided without the body, is asked before it comes
        stream.request_body(self._bodies[number % CHAT_SEEDS], end_of_stream=True)
        self._answer_lease()
        sim.advance(MODEL_LATENCY_MS)
        stream.response_headers({":status": "200", "content-type": "text/event-stream"}, end_of_stream=False)
        for chunk in range(1, CHUNKS + 1):
            stream.response_body(b'data: {"choices":[{"delta":{"content":" a"}}]}\n\n', end_of_stream=chunk == CHUNKS)
        while sim.redis_commands():
            sim.deliver_redis(1)  # what was given back
        self._check(stream)
        return _spent([*stream.trace.callbacks, *sim.vm.trace.callbacks])

    def _answer_lease(self) -> None:
        if self._case.reply is not None:
            for command in self._sim.redis_commands():
                self._sim.deliver_redis(self._case.reply(command))

    def _scrape(self, position: int) -> None:
        """The host's health check has stored another text."""
        self._scrapes += 1
        text = vllm(
            waiting=self._scrapes % 7,
            kv_usage=self._scrapes % 10 / 10,
            loras=["sql"] if self._case.adapters else (),
            max_lora=4 if self._case.adapters else 0,
            scrape=self._scrapes,
        )
        self._endpoints[position] = Endpoint(self._endpoints[position].address, metrics=text)
        self._sim.gateway.clusters[_CLUSTER].endpoints = list(self._endpoints)

    def _check(self, stream: HttpStream) -> None:
        exchange = self._sim.observe(stream)
        if self._case.chooses_cluster:
            is_routed = dict(exchange.upstream_headers or []).get(_CLUSTER_HEADER) in self._sim.gateway.clusters
        else:
            is_routed = exchange.overridden
        has_complained = any(record.level >= LogLevel.WARN for record in exchange.logs)
        if exchange.status != 200 or len(exchange.chunks) != CHUNKS or not is_routed or has_complained:
            seen = [f"{exchange.status} from {exchange.endpoint}", *map(str, exchange.logs)]
            raise RuntimeError("\n".join([f"{self._case.name}: a request was not routed as it should be:", *seen]))


def _spent(records: Sequence[CallbackRecord]) -> _Spent:
    callbacks: Counter[str] = Counter()
    chunks: list[int] = []
    ticks: list[int] = []
    for record in records:
        instructions = record.instructions or 0
        if record.name == _ON_CHUNK:
            chunks.append(instructions)
        elif record.name == _ON_TICK:
            ticks.append(instructions)
        else:
            callbacks[record.name] += instructions
    if chunks:
        callbacks[_ON_CHUNK] = chunks.pop(0)
    return _Spent(callbacks, max(chunks, default=0), ticks)


def _configuration(case: Case, addresses: Sequence[str]) -> dict[str, object]:
    lb_type = "cluster" if case.chooses_cluster else "endpoint"
    config: dict[str, object] = {"lb_policy": case.policy, "lb_type": lb_type, "lb_config": dict(case.lb_config)}
    if case.target == "envoy" and not case.chooses_cluster:
        config["endpoints"] = list(addresses)
    return config
