"""What goes wrong, drawn from one seed: one stream of random numbers for each kind of peer.

Rates are per command, request or connection. `calm` ends all of it.
"""

import random
from collections import Counter
from collections.abc import Iterator

from ai_load_balancer.scripts import RENEW

from host_sim import Endpoint
from host_sim.clock import ManualScheduler
from host_sim.cluster import HEALTHY, Cluster
from host_sim.memory_redis import MemoryRedis
from host_sim.upstream import ResponseHeaders, ResponseTrailers
from host_sim.virtual import AFTER_REQUEST, Client, CommandFault, Step, TimedRedis, UpstreamFault
from host_sim.virtual.client import Leave
from host_sim.virtual.upstream import TimedRequest

REDIS_LATENCY_MS = 0.5  # mean of one way
REDIS_FAULT_RATE = 0.02
LATE_MS = 60.0
RARE_FAULTS = (CommandFault.NEVER, CommandFault.LOST)  # each stops all traffic with Redis until a timeout
OUTAGE_EVERY_MS, OUTAGE_MS = 5_000.0, 300.0  # Redis closes all connections and takes no new ones
LOSS_EVERY_MS = 3_500.0  # Redis forgets its scripts, and every second time its data
HEALTH_CHANGE_EVERY_MS = 300.0

CONNECT_FAULT_RATE, RESET_RATE, ERROR_RATE, HANG_RATE, EARLY_RATE = 0.03, 0.04, 0.04, 0.004, 0.01
FIRST_TOKEN_MS, TOKEN_MS, TOKENS_MAX = 120.0, 25.0, 6
LONG_RATE, LONG_TOKEN_MS = 0.004, 30_000.0  # streams that outlive a lease which is not renewed
GIVE_UP_RATE, GIVE_UP_MS = 0.15, 150.0
LEAVE_RATE = 0.06

MESSAGE = b'{"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": true}'
REQUEST_HEADERS = {"content-type": "application/json", "user-agent": "bench"}
STATUS_200 = ResponseHeaders([(b":status", b"200"), (b"content-type", b"text/event-stream")])
RENEW_COMMANDS = frozenset(str(command[1]).encode() for command in (RENEW.by_sha, RENEW.by_source))
SERVER_ERRORS = (b"500", b"502", b"503")


class RedisChaos:
    """The faults of a TimedRedis."""

    def __init__(self, seed: str, scheduler: ManualScheduler) -> None:
        self.calm = False
        self.happened: Counter[str] = Counter()
        self.renewals = 0  # commands that arrived to renew leases
        self.is_out = False
        self.memory = MemoryRedis(scheduler.realtime_ns)
        self._chance = random.Random(seed)
        self._scheduler = scheduler
        self._faults = tuple(CommandFault)
        self._weights = [1 if fault in RARE_FAULTS else 6 for fault in self._faults]
        self.backend = TimedRedis(
            self.memory, scheduler, self._latency_ms, self._fault, self._refuse, self._chance.randrange, LATE_MS
        )
        scheduler.call_later(OUTAGE_EVERY_MS, self._outage)
        scheduler.call_later(LOSS_EVERY_MS, self._loss)

    def _latency_ms(self) -> float:
        return self._chance.expovariate(1 / REDIS_LATENCY_MS)

    def _fault(self, command: list[bytes]) -> CommandFault | None:
        if len(command) > 1 and command[1] in RENEW_COMMANDS:
            self.renewals += 1
        if self.calm:
            return None
        if self.is_out:
            return CommandFault.DISCONNECT_BEFORE
        if self._chance.random() >= REDIS_FAULT_RATE:
            return None
        (fault,) = self._chance.choices(self._faults, self._weights)
        self.happened[f"redis {fault.name}"] += 1
        return fault

    def _refuse(self) -> bool:
        return self.is_out and not self.calm

    def _outage(self) -> None:
        if not self.calm:
            self.is_out = True
            self.happened["redis outage"] += 1
            self._scheduler.call_later(OUTAGE_MS, self._back)
            self._scheduler.call_later(OUTAGE_EVERY_MS, self._outage)

    def _back(self) -> None:
        self.is_out = False

    def _loss(self) -> None:
        if self.calm:
            return
        self.memory.scripts.flush()
        if self.happened["redis lost its scripts"] % 2:
            self.happened["redis lost its data"] += 1
            for store in self.memory.databases:
                store.clear()
        self.happened["redis lost its scripts"] += 1
        self._scheduler.call_later(LOSS_EVERY_MS, self._loss)


class UpstreamChaos:
    """The script of every endpoint, and their health."""

    def __init__(self, seed: str, scheduler: ManualScheduler) -> None:
        self.calm = False
        self.calm_answer_ms = 50.0
        self.happened: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._scheduler = scheduler

    def flap(self, cluster: Cluster) -> None:
        """From now on the cluster's endpoints become unhealthy and healthy again; the first one stays healthy."""

        def change() -> None:
            if self.calm:
                cluster.endpoints = [Endpoint(endpoint.address) for endpoint in cluster.endpoints]
                return
            endpoints = list(cluster.endpoints)
            which = self._chance.randrange(1, len(endpoints))
            health = "Unhealthy" if endpoints[which].health == HEALTHY else HEALTHY
            endpoints[which] = Endpoint(endpoints[which].address, health)
            cluster.endpoints = endpoints
            self.happened["endpoint health changed"] += 1
            self._scheduler.call_later(HEALTH_CHANGE_EVERY_MS, change)

        self._scheduler.call_later(HEALTH_CHANGE_EVERY_MS, change)

    def __call__(self, request: TimedRequest) -> Iterator[Step]:
        if self.calm:
            return iter((AFTER_REQUEST, self.calm_answer_ms, STATUS_200, b"data: [DONE]\n\n"))
        return self._script()

    def _script(self) -> Iterator[Step]:
        chance, happened = self._chance, self.happened
        kind = chance.random()
        if (kind := kind - EARLY_RATE) < 0:
            happened["upstream answered before the request ended"] += 1
            yield ResponseHeaders([(b":status", b"413")], True)
            return
        if (kind := kind - CONNECT_FAULT_RATE) < 0:
            happened["upstream refused the connection"] += 1
            yield UpstreamFault.CONNECT
            return
        yield AFTER_REQUEST
        yield chance.expovariate(1 / FIRST_TOKEN_MS)
        if (kind := kind - ERROR_RATE) < 0:
            happened["upstream answered 5xx"] += 1
            yield ResponseHeaders([(b":status", chance.choice(SERVER_ERRORS))], True)
            return
        if (kind := kind - HANG_RATE) < 0:
            happened["upstream never answered"] += 1
            yield 1e9
            return
        resets = kind - RESET_RATE < 0
        if resets and chance.random() < 0.3:
            happened["upstream reset before the response"] += 1
            yield UpstreamFault.RESET
            return
        yield STATUS_200
        token_ms = TOKEN_MS
        if chance.random() < LONG_RATE:
            happened["upstream took very long"] += 1
            token_ms = LONG_TOKEN_MS
        for number in range(chance.randint(1, TOKENS_MAX)):
            yield b'data: {"token": %d}\n\n' % number
            if resets and chance.random() < 0.5:
                happened["upstream reset within the response"] += 1
                yield UpstreamFault.RESET
                return
            yield chance.expovariate(1 / token_ms)
        if chance.random() < 0.05:
            yield ResponseTrailers([(b"x-end", b"1")])


class ClientChaos:
    """The clients, one after the other."""

    def __init__(self, seed: str) -> None:
        self.calm = False
        self._chance = random.Random(seed)
        self._numbers = 0

    def gap_ms(self, mean_ms: float) -> float:
        """Until the next client."""
        return self._chance.expovariate(1 / mean_ms)

    def next(self) -> Client:
        chance = self._chance
        self._numbers += 1
        headers = {**REQUEST_HEADERS, "x-request-id": str(self._numbers)}
        if self.calm:
            return Client("POST", "/v1/chat/completions", headers, (MESSAGE,))
        leaves: Leave | None = None
        if chance.random() < LEAVE_RATE:
            leaves = chance.choice(("paused", "response"))
        gives_up_ms = chance.expovariate(1 / GIVE_UP_MS) if chance.random() < GIVE_UP_RATE else None
        if chance.random() < 0.1:
            return Client("GET", "/v1/models", headers, gives_up_ms=gives_up_ms, leaves=leaves)
        body: tuple[bytes | float, ...] = (MESSAGE,)
        if chance.random() < 0.2:
            body = (MESSAGE[:20], chance.expovariate(1 / 10), MESSAGE[20:40], MESSAGE[40:], chance.choice((0.0, 5.0)))
        trailers = {"x-end": "1"} if chance.random() < 0.05 else {}
        return Client("POST", "/v1/chat/completions", headers, body, trailers, gives_up_ms, leaves)
