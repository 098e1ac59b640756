"""Whole chat requests per second of CPU through the wasm guest, on one core, with a scripted Redis.

Each has its client, its upstream with a streamed answer of a few chunks, and two Redis calls; some are in flight at a
time. The wall clock is not looked at: other work on the machine must not count.
"""

import gc
import time
from dataclasses import dataclass

from proxywasm.enums import LogLevel

from host_sim import ScriptedRedis
from host_sim.setup import GuestSource
from host_sim.upstream import ResponseHeaders
from host_sim.virtual import AFTER_REQUEST, Client, Request, Step, VirtualSimulator
from host_sim.virtual.upstream import TimedRequest

from .requests import CLUSTER, ENDPOINTS, HEADERS, HIGRESS_CONFIG, REDIS

REQUESTS = 5_000
WARM_UP = 200
CLIENT_EVERY_MS = 1.0
TOKENS = 8
TOKEN_MS = 5.0
BUDGET_PER_S = 1_000

_CHAT = Client(
    "POST",
    "/v1/chat/completions",
    {name: value for name, value in HEADERS.items() if not name.startswith(":")},
    (b'{"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": true}',),
)
_HEADERS = ResponseHeaders([(b":status", b"200"), (b"content-type", b"text/event-stream")])


@dataclass(frozen=True, slots=True)
class Throughput:
    """`at_once_max` requests were in flight at a time."""

    requests: int
    cpu_s: float
    at_once_max: int

    @property
    def per_s(self) -> float:
        return self.requests / self.cpu_s

    @property
    def is_within_budget(self) -> bool:
        return self.per_s >= BUDGET_PER_S


def throughput(guest: GuestSource, requests: int = REQUESTS) -> Throughput:
    """Raises RuntimeError if a request was not routed by the plugin."""
    redis = ScriptedRedis(lambda command: [1, 1] if ENDPOINTS[0].encode() in command else 1)  # an acquire, else
    with VirtualSimulator(
        guest, "higress", HIGRESS_CONFIG, {CLUSTER: ENDPOINTS}, {REDIS: redis}, _stream, log_level=LogLevel.WARN
    ) as sim:
        run = _Run(sim)
        run.play(WARM_UP)
        gc.collect()
        start_s = time.process_time()
        run.play(requests)
        cpu_s = time.process_time() - start_s
        sim.finish()
    return Throughput(requests, cpu_s, run.at_once_max)


def _stream(request: TimedRequest) -> list[Step]:
    steps: list[Step] = [AFTER_REQUEST, TOKEN_MS, _HEADERS]
    for number in range(TOKENS):
        steps += [b'data: {"token": %d}\n\n' % number, TOKEN_MS]
    return steps


class _Run:
    def __init__(self, sim: VirtualSimulator) -> None:
        self.at_once_max = 0
        self._sim = sim

    def play(self, requests: int) -> None:
        for _ in range(requests):
            self._sim.send(_CHAT, self._ended)
            self.at_once_max = max(self.at_once_max, len(self._sim.open_requests))
            self._sim.advance(CLIENT_EVERY_MS)
        self._sim.run()

    def _ended(self, request: Request) -> None:
        stream = request.stream
        if not (stream.overridden and stream.downstream.ended and len(stream.downstream.chunks) == TOKENS):
            raise RuntimeError(f"the request was not routed, its time means nothing:\n{request.exchange()}")
