"""The demo: chat requests at once through the built filter, to stand-in model servers.

    ./build.sh demo        or, with the artifacts in dist/:  python -m host_sim.demo

On the higress target the counts are in a real Redis, on the envoy target in the gateway's shared data. Every client
holds back the end of its prompt until all requests have reached a server. So the peak in flight is what the filter
decided, however fast the machine is: least request must have spread the requests evenly.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from struct import iter_unpack

from proxywasm.enums import LogLevel

from .abi import Target
from .embedded_redis import EmbeddedRedis
from .exchange import Exchange
from .headers import to_str
from .model_server import ModelServer
from .records import CallbackRecord
from .simulator import Simulator
from .upstream import HttpUpstream

REQUESTS = 60
SERVERS = 3
ALL_THERE_TIMEOUT_S = 30.0
POLL_INTERVAL_S = 0.005
ARTIFACTS = Path(__file__).resolve().parents[1] / "dist"
REDIS_CLUSTER = "outbound|6379||redis.static"
PROMPT = {"model": "demo", "stream": True, "messages": [{"role": "user", "content": "Tell me about load balancing."}]}


@dataclass(frozen=True, slots=True)
class Play:
    """What came of the requests; `in_flight_at_end` is by endpoint, as the filter's own books say."""

    servers: Sequence[ModelServer]
    exchanges: Sequence[Exchange]
    callbacks: Sequence[CallbackRecord]
    in_flight_at_end: Mapping[str, int]
    complaints: Sequence[str]

    def problems(self) -> list[str]:
        problems: list[str] = []
        for exchange in self.exchanges:
            if exchange.status != 200:
                problems.append(f"a request ended with {exchange.status or exchange.reset_reason}")
            if not exchange.overridden:
                problems.append("the proxy's own balancing chose the endpoint of a request")
            if not exchange.body.endswith(b"[DONE]\n\n"):
                problems.append(f"a reply is cut off: {exchange.body[-40:]!r}")
        for what, numbers in (("requests", self.requests), ("peaks in flight", self.peaks)):
            if max(numbers) - min(numbers) > 1 or sum(numbers) != REQUESTS:
                problems.append(f"{what} are not {REQUESTS} spread evenly: {numbers}")
        problems += [f"{count} still counted at {name}" for name, count in self.in_flight_at_end.items() if count]
        return problems + [f"logged: {complaint}" for complaint in self.complaints]

    @property
    def requests(self) -> list[int]:
        chosen = Counter(exchange.endpoint for exchange in self.exchanges)
        return [chosen[server.address] for server in self.servers]

    @property
    def peaks(self) -> list[int]:
        return [server.in_flight_max for server in self.servers]

    @property
    def instructions_per_request(self) -> list[int]:
        """Of all callbacks together, those that give the count back included."""
        return [sum(exchange.instructions.values()) for exchange in self.exchanges]


async def play(target: Target, embedded_redis: EmbeddedRedis | None) -> Play:
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(ModelServer(f"model-{number}")) for number in range(SERVERS)]
        addresses = [server.address for server in servers]
        config: dict[str, object] = {"lb_policy": "global_least_request"}
        if embedded_redis:
            config["lb_config"] = {"serviceFQDN": "redis.static", "servicePort": 6379}
        else:
            config["endpoints"] = addresses
        simulator = Simulator(
            ARTIFACTS / f"ai-load-balancer.{target}.wasm",
            target,
            config,
            clusters={"outbound|80||llm.static": addresses},
            redis={REDIS_CLUSTER: embedded_redis.url} if embedded_redis else {},
            upstream=HttpUpstream(),
            fuel=True,
        )
        async with simulator:
            exchanges = await _chat(simulator, servers)
            await simulator.settle()
            counts = _counts_in_redis(embedded_redis) if embedded_redis else _counts_in_shared_data(simulator)
            logs = [str(record) for record in simulator.gateway.logs if record.level >= LogLevel.WARN]
            callbacks = [record for exchange in exchanges for record in exchange.callbacks]
            callbacks += simulator.vm.trace.callbacks
            await simulator.finish()
            return Play(servers, exchanges, callbacks, counts, logs)


async def _chat(simulator: Simulator, servers: Sequence[ModelServer]) -> list[Exchange]:
    """All requests at once; each is complete, in either direction, only after all have reached a server."""
    all_there = asyncio.Event()
    text = json.dumps(PROMPT).encode()

    async def prompt() -> AsyncIterator[bytes]:
        # Three parts, since the simulator reads one part ahead, to know which is the last.
        yield text[:1]
        yield text[1:-1]
        await all_there.wait()
        yield text[-1:]

    headers = {"content-type": "application/json"}
    requests = [
        asyncio.create_task(simulator.request("POST", "/v1/chat/completions", headers, prompt()))
        for _ in range(REQUESTS)
    ]
    try:
        async with asyncio.timeout(ALL_THERE_TIMEOUT_S):
            while sum(server.in_flight for server in servers) < REQUESTS and not any(task.done() for task in requests):
                await asyncio.sleep(POLL_INTERVAL_S)
    except TimeoutError:
        pass  # the peaks will tell
    all_there.set()
    return await asyncio.gather(*requests)


def _counts_in_redis(server: EmbeddedRedis) -> dict[str, int]:
    """The filter's hashes `ailb:{<route>|<cluster>}:in_flight`: endpoint to count."""
    counts: Counter[str] = Counter()
    with server.client() as client:
        for key in client.scan_iter("ailb:*:in_flight"):
            for endpoint, count in client.hgetall(key).items():
                counts[to_str(endpoint)] += int(count)
    return counts


def _counts_in_shared_data(simulator: Simulator) -> dict[str, int]:
    """The filter's values under `ailb:{<route>|<cluster>}:in_flight`.

    Each is the endpoints, a space between them, and a line end; then for each worker its id (8 bytes), a time (f64) and
    its counts (u32, little-endian).
    """
    counts: Counter[str] = Counter()
    for key, value in simulator.gateway.shared.data.items(b"vm").items():
        if key.startswith(b"ailb:") and key.endswith(b":in_flight"):
            head, _, sections = value.partition(b"\n")
            endpoints = head.decode().split(" ")
            for _worker, _until, *numbers in iter_unpack(f"<8sd{len(endpoints)}I", sections):
                counts.update(dict(zip(endpoints, numbers, strict=True)))
    return counts


def _print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    texts = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *texts, strict=True)]
    for first, *others in (head, *texts):
        cells = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]))
    print()


def _instruction_rows(result: Play) -> list[tuple[object, ...]]:
    spent: dict[str, list[int]] = {}
    for record in result.callbacks:
        spent.setdefault(record.name, []).append(record.instructions or 0)
    spent["one whole request"] = result.instructions_per_request
    return [(name, len(values), round(median(values)), max(values)) for name, values in spent.items()]


def main() -> int:
    with EmbeddedRedis() as embedded_redis:
        print(f"{REQUESTS} chat requests at once, ai-load-balancer.higress.wasm, counts in {embedded_redis}\n")
        higress = asyncio.run(play("higress", embedded_redis))
    at_end = [higress.in_flight_at_end.get(server.address, 0) for server in higress.servers]
    addresses = [server.address for server in higress.servers]
    rows = list(zip(addresses, higress.requests, higress.peaks, at_end, strict=True))
    _print_table(["endpoint", "requests", "peak in flight", "count in Redis at the end"], rows)
    _print_table(["callback", "calls", "instructions: median", "max"], _instruction_rows(higress))

    envoy = asyncio.run(play("envoy", None))
    plays = {"higress": higress, "envoy": envoy}
    print(
        f"the same with ai-load-balancer.envoy.wasm: requests {envoy.requests}, peaks in flight {envoy.peaks},"
        f" counted in shared data at the end {sum(envoy.in_flight_at_end.values())},"
        f" instructions per request {round(median(envoy.instructions_per_request)):,}"
    )
    problems = Counter(f"{name}: {text}" for name, run in plays.items() for text in run.problems())
    for problem, times in problems.items():
        print(f"PROBLEM {problem}" + (f" ({times} times)" if times > 1 else ""), file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
