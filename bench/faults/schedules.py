"""Many short schedules: a few requests, and what goes wrong meanwhile; then all must be well, each time.

All share a gateway, which must be as good as new after each; so a schedule costs little more than its requests.
"""

import random
from collections.abc import Callable

from host_sim import SimulatorError
from host_sim.setup import GuestSource

from . import rules, views
from .cases import Case
from .run import ROUTE_TIMEOUT_MS, FaultRun, Report

DURATION_MS = 600.0
REQUESTS_MAX = 6
EVENTS_MAX = 3
DEATH_RATE = 0.01  # of schedules: a new VM takes longer than all else
FAULT_RATES = (0.0, 0.0, 0.05, 0.5)  # of Redis commands
SHORT_TIMEOUT_MS = 5_000.0  # of the route
ON_THE_WAY_MS = 2_000.0  # what was sent to a slow Redis arrives, though nobody waits for the reply any more
FORGET_MS = 10_000.0  # an endpoint's failures


class ScheduleRun(FaultRun):
    """`play_schedules` once. The same arguments give the same schedules."""

    def __init__(self, guest: GuestSource, seed: int, case: Case) -> None:
        super().__init__(guest, seed, workers=None, case=case, by_itself=False)
        self.harmless = 0  # schedules after which nothing may be left, not even until it expires
        self._chance = random.Random(f"{seed} schedules")

    def play_schedules(self, number: int) -> Report:
        """Raises BrokenRule or SimulatorError, with the seed and the number of the schedule."""
        report = self.report
        played = 0
        try:
            self.sim.route_timeout_ms = SHORT_TIMEOUT_MS
            while played < number:
                self._play_schedule()
                played += 1
            self.sim.route_timeout_ms = ROUTE_TIMEOUT_MS
            self.gateway.keep()
            self.sim.advance(FORGET_MS)
            self._recover()
            self._probe()
            self.sim.finish()
        except (rules.BrokenRule, SimulatorError) as error:
            error.add_note(f"{report.case}: seed {report.seed}, schedule {played} of {number}, at {self.sim.now_ms} ms")
            raise
        finally:
            self.sim.close()
        report.requests = self._sent
        report.decisions = views.decisions(self.sim.gateway)
        report.faults = self.redis.happened + self.upstream.happened + self.gateway.happened
        return report

    def _play_schedule(self) -> None:
        chance, later = self._chance, self.sim.scheduler.call_later
        harm = self._harm()
        self.redis.calm = self.upstream.calm = self.clients.calm = False
        self.redis.fault_rate = chance.choice(FAULT_RATES)
        for event in self._events():
            later(chance.uniform(0, DURATION_MS), event)
        for _ in range(chance.randint(1, REQUESTS_MAX)):
            later(chance.uniform(0, DURATION_MS), self._come_alone)
        self.sim.advance(DURATION_MS)
        self.sim.run()
        self.redis.calm_down()
        self.upstream.calm = self.clients.calm = True
        self.gateway.restore_endpoints()
        self._check_at_rest()
        if self._harm() == harm:
            self.harmless += 1
        else:
            self.sim.advance(ON_THE_WAY_MS)
            if self.leases.live_counts() or self.board.counts():
                self.sim.advance(self._lease_ttl_ms)
        rules.nothing_is_counted(self.leases, self.board)

    def _events(self) -> list[Callable[[], None]]:
        redis, gateway = self.redis, self.gateway
        events = [gateway.change_endpoint, gateway.change_configuration]
        if self.case.target == "higress":
            events += [redis.outage, redis.slow_phase, redis.loss]
        deaths = [gateway.kill_a_vm] if self._chance.random() < DEATH_RATE else []
        return [*self._chance.choices(events, k=self._chance.randint(0, EVENTS_MAX)), *deaths]

    def _come_alone(self) -> None:
        self._send()

    def _harm(self) -> int:
        """How often something happened that may leave a lease or a count behind, until it expires."""
        redis = self.redis.happened
        return redis.total() - redis["redis lost its scripts"] + self.gateway.happened["a VM died"]
