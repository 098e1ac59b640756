"""A gateway is killed with requests in flight: Redis forgets them in time, and another gateway's counts stay right."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import aiohttp
import pytest
import redis
from ai_load_balancer.scripts import LIVE_COUNTS, in_flight_keys

from host_sim import EmbeddedRedis
from tests.artifacts import require_artifact
from tests.live.processes import Ailb, ailb
from tests.live.upstream import Upstream

ROUTE, CLUSTER = "chat", "outbound|80||llm.static"
REDIS = "outbound|6379||redis.static"
COUNTS, LEASES, EXPIRIES = in_flight_keys(ROUTE.encode(), CLUSTER.encode())
LEASE_TTL_S = 3
BUDGET_MS = 2_000  # on a busy machine, too, every request gets its lease before it goes on
ON_THE_WAY_MS = 200  # a renewal that was sent before the kill and is read after it
KILLED_REQUESTS, OTHER_REQUESTS = 200, 20
MAX_REAPED = 64  # expired leases that one acquire drops: lease_functions.lua
TIMEOUT_S = 240.0


def gateway_yaml(folder: Path, name: str, endpoints: list[str], redis_url: str) -> Path:
    lb_config = {
        "serviceFQDN": "redis.static",
        "servicePort": 6379,
        "lease_ttl_s": LEASE_TTL_S,
        "redis_budget_ms": BUDGET_MS,
    }
    document = {
        "listen": "127.0.0.1:0",
        "admin": False,
        "drain_timeout_ms": 1000,
        "plugin": {
            "wasm": str(require_artifact("higress")),
            "log_level": "error",
            "config": {"lb_policy": "global_least_request", "lb_config": lb_config},
        },
        "routes": [{"name": ROUTE, "cluster": CLUSTER}],
        "clusters": {CLUSTER: {"endpoints": endpoints}},
        "redis": {REDIS: redis_url},
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(document))
    return path


@contextmanager
def two_gateways(folder: Path, endpoints: list[str], redis_url: str) -> Iterator[list[tuple[Ailb, str]]]:
    """Each with its address."""
    with ExitStack() as stack:
        gateways = [
            stack.enter_context(ailb(["serve", "-c", str(gateway_yaml(folder, name, endpoints, redis_url))]))
            for name in ("killed", "other")
        ]
        yield [(gateway, re.findall(r"http://\S+", gateway.until("gateway on"))[0]) for gateway in gateways]


class Observer:
    """What Redis holds, each look at one moment by its own clock."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client

    def now_ms(self) -> int:
        seconds, microseconds = self._client.time()
        return seconds * 1000 + microseconds // 1000

    def look(self) -> tuple[int, dict[str, int], set[bytes]]:
        """(ms, the counts of live leases, the ids of live leases)"""
        with self._client.pipeline(transaction=True) as pipe:
            pipe.time()
            pipe.execute_command(*LIVE_COUNTS.by_source, COUNTS, LEASES, EXPIRIES)
            pipe.zrange(EXPIRIES, 0, -1, withscores=True)
            (seconds, microseconds), counts, expiries = pipe.execute()
        now_ms = seconds * 1000 + microseconds // 1000
        live = {lease for lease, expiry_ms in expiries if expiry_ms > now_ms}
        return now_ms, {name.decode(): n for name, n in zip(counts[::2], counts[1::2], strict=True)}, live

    def stored(self) -> dict[str, int]:
        counts: dict[bytes, bytes] = self._client.hgetall(COUNTS)  # type: ignore[assignment]
        return {name.decode(): int(count) for name, count in counts.items()}

    def pause(self) -> None:
        """A moment, by Redis: nobody ever pushes to this list."""
        self._client.blpop(["never"], timeout=0.05)


class Load:
    """Requests that upstreams hold open; the server that got a request tells where it counts."""

    def __init__(self, client: aiohttp.ClientSession, servers: list[Upstream]) -> None:
        self.at: Counter[str] = Counter()
        self._client = client
        self._servers = servers
        self._tasks: list[asyncio.Task[bytes]] = []

    async def begin(self, base: str, requests: int) -> Counter[str]:
        """Returns when each is at a server: {address: requests}"""
        self._tasks += [asyncio.create_task(self._request(base)) for _ in range(requests)]
        arrivals: asyncio.Queue[str] = asyncio.Queue()
        watching = [asyncio.create_task(_watch(server, arrivals)) for server in self._servers]
        came = Counter([await arrivals.get() for _ in range(requests)])
        for task in watching:
            task.cancel()
        self.at += came
        return came

    async def __aenter__(self) -> "Load":
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def end(self) -> None:
        for server in self._servers:
            server.send(*[None] * self.at[server.address])
        await asyncio.gather(*self._tasks)

    async def _request(self, base: str) -> bytes:
        async with self._client.get(f"{base}/stream") as response:
            return await response.read()


async def _watch(server: Upstream, arrivals: "asyncio.Queue[str]") -> None:
    while True:
        await server.requests.get()
        arrivals.put_nowait(server.address)


async def scenario(folder: Path, database: "redis.Redis", redis_url: str) -> None:
    observer = Observer(database)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        Upstream() as one,
        Upstream() as two,
        aiohttp.ClientSession(timeout=timeout, connector=connector) as client,
        Load(client, [one, two]) as lost,
        Load(client, [one, two]) as kept,
    ):
        with two_gateways(folder, [one.address, two.address], redis_url) as ((killed, killed_base), (_, other_base)):
            await kept.begin(other_base, OTHER_REQUESTS)
            _, counts, own = observer.look()
            assert counts == kept.at
            await lost.begin(killed_base, KILLED_REQUESTS)
            assert observer.look()[1] == kept.at + lost.at

            killed.process.kill()
            killed.process.wait()
            deadline_ms = observer.now_ms() + LEASE_TTL_S * 1000 + ON_THE_WAY_MS
            while True:
                now_ms, counts, live = observer.look()
                assert own <= live, "the other gateway's requests count all the time"
                if counts == kept.at:
                    break
                assert now_ms <= deadline_ms, f"{counts} are live, {kept.at} are in flight"
                await asyncio.to_thread(observer.pause)

            for _ in range(-(-KILLED_REQUESTS // MAX_REAPED)):
                await kept.begin(other_base, 1)
            assert observer.stored() == observer.look()[1] == dict(kept.at)

            await kept.end()
            while observer.stored():
                await asyncio.to_thread(observer.pause)


@pytest.mark.shows("key lb_config.lease_ttl_s", "defect 2")
def test_a_killed_gateway_counts_no_more_after_the_time_of_its_leases(tmp_path: Path) -> None:
    with EmbeddedRedis() as server, server.client() as database:
        asyncio.run(asyncio.wait_for(scenario(tmp_path, database, server.url), TIMEOUT_S))
