"""What goes wrong with Redis, drawn from one stream of random numbers."""

import random
from collections import Counter
from collections.abc import Callable

from ai_load_balancer.scripts import RENEW

from host_sim.clock import ManualScheduler
from host_sim.codec import RespValue
from host_sim.memory_redis import MemoryRedis
from host_sim.memory_redis.store import Store
from host_sim.virtual import CommandFault, TimedRedis

LATENCY_MS = 0.5  # mean of one way
SLOW_LATENCY_MS = 120.0  # many replies come after the budget
SLOW_EVERY_MS, SLOW_MS = 11_000.0, 1_500.0
FAULT_RATE = 0.02
LATE_MS = 300.0  # after the budget, before the timeout
RARE_FAULTS = (CommandFault.NEVER, CommandFault.LOST)  # each stops all traffic with Redis until a timeout
OUTAGE_EVERY_MS, OUTAGES_MS = 5_000.0, (300.0, 300.0, 2_500.0)  # it closes all connections and takes no new ones
LOSS_EVERY_MS = 3_500.0  # Redis forgets its scripts, and every second time its data
RENEW_COMMANDS = frozenset(str(command[1]).encode() for command in (RENEW.by_sha, RENEW.by_source))


class WatchedRedis(MemoryRedis):
    """`watch` is told of every command that was carried out, with its reply."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        super().__init__(now_ns)
        self.watch: Callable[[list[bytes], RespValue], None] = lambda command, reply: None

    def execute(self, store: Store, command: list[bytes]) -> RespValue:
        reply = super().execute(store, command)
        self.watch(command, reply)
        return reply


class RedisChaos:
    """The faults of a TimedRedis, while it is not `calm`. Outages and the like happen `by_itself` or when asked for."""

    def __init__(self, seed: str, scheduler: ManualScheduler, by_itself: bool = True) -> None:
        self.calm = False
        self.fault_rate = FAULT_RATE
        self.happened: Counter[str] = Counter()
        self.renewals = 0  # commands that arrived to renew leases
        self.memory = WatchedRedis(scheduler.realtime_ns)
        self._is_out = False
        self._is_slow = False
        self._chance = random.Random(seed)
        self._scheduler = scheduler
        self._faults = tuple(CommandFault)
        self._weights = [1 if fault in RARE_FAULTS else 6 for fault in self._faults]
        self.backend = TimedRedis(
            self.memory, scheduler, self._latency_ms, self._fault, self._refuse, self._chance.randrange, LATE_MS
        )
        if by_itself:
            self._again(OUTAGE_EVERY_MS, self.outage)
            self._again(LOSS_EVERY_MS, self.loss)
            self._again(SLOW_EVERY_MS, self.slow_phase)

    def calm_down(self) -> None:
        self.calm = True
        self._is_out = self._is_slow = False

    def _again(self, every_ms: float, happen: Callable[[], None]) -> None:
        def once() -> None:
            if not self.calm:
                happen()
                self._scheduler.call_later(every_ms, once)

        self._scheduler.call_later(every_ms, once)

    def _latency_ms(self) -> float:
        return self._chance.expovariate(1 / (SLOW_LATENCY_MS if self._is_slow and not self.calm else LATENCY_MS))

    def _fault(self, command: list[bytes]) -> CommandFault | None:
        if len(command) > 1 and command[1] in RENEW_COMMANDS:
            self.renewals += 1
        if self.calm:
            return None
        if self._is_out:
            return CommandFault.DISCONNECT_BEFORE
        if self._chance.random() >= self.fault_rate:
            return None
        (fault,) = self._chance.choices(self._faults, self._weights)
        self.happened[f"redis {fault.name}"] += 1
        return fault

    def _refuse(self) -> bool:
        return self._is_out and not self.calm

    def outage(self) -> None:
        self._is_out = True
        outage_ms = OUTAGES_MS[self.happened["redis outage"] % len(OUTAGES_MS)]
        self.happened["redis outage"] += 1
        self._scheduler.call_later(outage_ms, self._back)

    def _back(self) -> None:
        self._is_out = False

    def slow_phase(self) -> None:
        self._is_slow = True
        self.happened["redis was slow"] += 1
        self._scheduler.call_later(SLOW_MS, self._fast)

    def _fast(self) -> None:
        self._is_slow = False

    def loss(self) -> None:
        self.memory.scripts.flush()
        if self.happened["redis lost its scripts"] % 2:
            self.happened["redis lost its data"] += 1
            for store in self.memory.databases:
                store.clear()
        self.happened["redis lost its scripts"] += 1
