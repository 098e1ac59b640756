"""A gateway with one of the policies that hold leases, a real Redis, and endpoints that answer when told to."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ai_load_balancer.scripts import LIVE_COUNTS, in_flight_keys
from redis import Redis

from host_sim import Endpoint, Exchange, ScriptedRequest, ScriptedResponse, ScriptedUpstream, Simulator

REDIS = "outbound|6379||redis.static"
CLUSTER = "outbound|80||llm.dns"
ENDPOINTS = ("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
KEYS = in_flight_keys(b"route", CLUSTER.encode())
POLICIES = ("global_least_request", "prefix_cache", "endpoint_hash")
SESSION_HEADER = "x-mse-consumer"
BUDGET_MS = 2000  # more than a busy machine needs
DEADLINE_S = 15.0
POLL_INTERVAL_S = 0.01


def live_counts(database: "Redis") -> dict[str, int]:
    """What is in flight; also, that no count below one is stored."""
    found: Any = database.execute_command(*LIVE_COUNTS.by_source, *KEYS)
    stored: Any = database.hgetall(KEYS[0])
    assert all(int(count) > 0 for count in stored.values()), stored
    return {found[i].decode(): found[i + 1] for i in range(0, len(found), 2)}


def stored_counts(database: "Redis") -> dict[str, int]:
    """What the hash says, expired leases included."""
    stored: Any = database.hgetall(KEYS[0])
    return {endpoint.decode(): int(count) for endpoint, count in stored.items()}


async def until(condition: Callable[[], object]) -> None:
    """Waits for what must happen; how long it takes does not matter."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(POLL_INTERVAL_S)


class LeaseBench:
    """`statuses`: what an endpoint answers at once; the others answer 200 when `gate` is open."""

    def __init__(self, guest: str, policy: str, endpoints: Sequence[str] = ENDPOINTS, **lb_config: Any) -> None:
        self.policy = policy
        self.statuses: dict[str, int] = {}
        self.gate = asyncio.Event()
        self.arrived: list[str] = []
        self._guest = guest
        self._endpoints = endpoints
        self._config = {"serviceFQDN": "redis.static", "servicePort": 6379, "redis_budget_ms": BUDGET_MS, **lb_config}
        self._numbers = 0
        self._tasks: list[asyncio.Task[Exchange]] = []

    @asynccontextmanager
    async def running(self, redis: str | None):
        config = {"lb_policy": self.policy, "lb_config": self._config}
        upstream = ScriptedUpstream(self._answer)
        clusters: dict[str, list[Endpoint | str]] = {CLUSTER: list(self._endpoints)}
        async with Simulator(self._guest, "higress", config, clusters, {REDIS: redis}, upstream) as sim:
            self.sim = sim
            yield sim
            self.gate.set()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            assert "proxywasm_exceptions" not in self.metrics()
            assert self.metrics().get(f"ailb_in_flight.policy.{self.policy}", 0) == 0
            await sim.finish()

    def set_endpoints(self, endpoints: Sequence[str]) -> None:
        self.sim.clusters[CLUSTER].endpoints = [Endpoint(address) for address in endpoints]

    def set_redis_port(self, port: int) -> None:
        self.sim.gateway.redis[REDIS].port = port  # type: ignore[union-attr]

    async def ask(self, name: str = "", **options: Any) -> Exchange:
        """A request; `name` is its session and its prompt, by default one that nobody else has."""
        self._numbers += 1
        name = name or f"request {self._numbers}"
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": name}]}).encode()
        headers = {"content-type": "application/json", SESSION_HEADER: name}
        return await self.sim.request("POST", "/v1/chat/completions", headers, body, **options)

    async def start(self, number: int = 1, name: str = "", **options: Any) -> "list[asyncio.Task[Exchange]]":
        """Requests, one after the other, each of which is at its endpoint when this returns."""
        tasks = []
        for _ in range(number):
            arrived = len(self.arrived)
            task = asyncio.get_running_loop().create_task(self.ask(name, **options))
            self._tasks.append(task)
            tasks.append(task)
            await until(lambda: len(self.arrived) > arrived or task.done())  # noqa: B023
        return tasks

    def metrics(self) -> dict[str, int]:
        return self.sim.gateway.shared.metrics.values()

    def decisions(self, rung: str, outcome: str = "routed") -> int:
        return self.metrics().get(f"ailb_decisions_total.policy.{self.policy}.rung.{rung}.outcome.{outcome}", 0)

    def fallbacks(self, reason: str) -> int:
        return self.metrics().get(f"ailb_fallbacks_total.policy.{self.policy}.rung.redis.reason.{reason}", 0)

    def spread(self) -> Counter[str]:
        """How many requests each endpoint got so far."""
        return Counter(self.arrived)

    async def _answer(self, request: ScriptedRequest) -> ScriptedResponse:
        self.arrived.append(request.address)
        status = self.statuses.get(request.address)
        if status is None:
            await self.gate.wait()
        return ScriptedResponse(status or 200, chunks=(request.address.encode(),))
