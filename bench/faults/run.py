"""The run: clients come, everything goes wrong, it ends, and the rules are asked."""

from collections import Counter
from dataclasses import dataclass, field
from functools import partial

from ai_load_balancer.leases import LEASE_TTL_MS, RENEWALS_PER_TTL
from proxywasm.enums import LogLevel

from host_sim.clock import ManualScheduler
from host_sim.guest import GuestFactory
from host_sim.setup import GuestSource, guest_factory
from host_sim.virtual import Recording, Request, VirtualSimulator

from ..requests import CLUSTER, REDIS
from . import rules
from .chaos import ClientChaos, RedisChaos, UpstreamChaos

ENDPOINTS = [f"10.0.0.{number}:8000" for number in range(1, 6)]
ROUTE = "route"
REDIS_TIMEOUT_MS = 400
CONFIG = {
    "lb_policy": "global_least_request",
    "lb_config": {"serviceFQDN": "redis.static", "servicePort": 6379, "timeout": REDIS_TIMEOUT_MS},
}
HELD_MS_MAX = 2 * REDIS_TIMEOUT_MS  # a command is sent a second time after NOSCRIPT
ROUTE_TIMEOUT_MS = 200_000.0
CLIENT_EVERY_MS = 5.0  # mean
WORKERS = 2
CHECK_EVERY = 500  # requests
PROBES = 200  # requests of the last part: enough to reap every expired lease
PROBE_ANSWER_MS = 2.5 * LEASE_TTL_MS  # what is not renewed does not live as long


@dataclass(slots=True)
class Report:
    """`digest` is the hash of all that crossed the boundary of the guest, and when, and of every request's end."""

    seed: int
    requests: int
    digest: str = ""
    crossings: int = 0
    virtual_s: float = 0.0
    held_ms_most: float = 0.0
    memory_pages: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)


class FaultRun:
    """One gateway with the plugin `guest`; `play` once. The same arguments give the same report.

    client_every_ms: the mean time between two clients
    workers: of the gateway; None for one worker's VM and no others
    """

    def __init__(
        self,
        guest: GuestSource,
        seed: int,
        client_every_ms: float = CLIENT_EVERY_MS,
        workers: int | None = WORKERS,
    ) -> None:
        self.report = Report(seed, 0)
        scheduler = ManualScheduler()
        self.redis = RedisChaos(f"{seed} redis", scheduler)
        self.upstream = UpstreamChaos(f"{seed} upstream", scheduler)
        self.clients = ClientChaos(f"{seed} clients")
        factory: GuestFactory = guest_factory(guest)
        self.recording = Recording(factory)
        self.sim = VirtualSimulator(
            self.recording,
            "higress",
            CONFIG,
            {CLUSTER: ENDPOINTS},
            {REDIS: self.redis.backend},
            self.upstream,
            ROUTE_TIMEOUT_MS,
            seed,
            scheduler=scheduler,
            log_level=LogLevel.WARN,
            route_name=ROUTE,
            workers=workers,
        )
        self.view = rules.RedisView(self.redis.memory, ROUTE, CLUSTER)
        self._addresses = frozenset(ENDPOINTS)
        self._client_every_ms = client_every_ms
        self._to_come = 0
        self._workers = workers or 1
        self._worker = 0

    def play(self, requests: int) -> Report:
        """Raises BrokenRule, with the seed."""
        report = self.report
        report.requests = requests
        try:
            self._storm(requests)
            self._calm()
            self._probe()
            self.sim.finish()
        except rules.BrokenRule as error:
            error.add_note(f"seed {report.seed}, at {self.sim.now_ms} ms of virtual time, {report.outcomes}")
            raise
        finally:
            self.sim.close()
        report.digest = self.recording.digest
        report.crossings = self.recording.crossings
        report.virtual_s = self.sim.now_ms / 1000
        report.faults = self.redis.happened + self.upstream.happened
        return report

    def _storm(self, requests: int) -> None:
        self._to_come = requests
        self.upstream.flap(self.sim.gateway.clusters[CLUSTER])
        self.sim.scheduler.call_later(0, self._come)
        self.sim.run(lambda: not self._to_come and not self.sim.open_requests)

    def _come(self) -> None:
        """One client comes, and the next one some time later."""
        self._send()
        self._to_come -= 1
        if self._to_come:
            self.sim.scheduler.call_later(self.clients.gap_ms(self._client_every_ms), self._come)

    def _send(self) -> Request:
        self._worker = (self._worker + 1) % self._workers
        return self.sim.send(self.clients.next(), partial(self._ended, self.sim.now_ms), self._worker)

    def _ended(self, start_ms: float, request: Request) -> None:
        report, stream = self.report, request.stream
        held_ms = request.held_ms
        if held_ms is not None:
            report.held_ms_most = max(report.held_ms_most, held_ms)
        rules.request_was_served(request, self._addresses, HELD_MS_MAX, held_ms)
        status = (stream.downstream.headers.get(b":status") or b"").decode() if stream.downstream.headers else "none"
        ended = "client left" if request.client_left else "complete" if stream.downstream.ended else "broke off"
        report.outcomes[f"{'chosen' if stream.overridden else 'proxy'} {status} {ended}"] += 1
        endpoint = stream.endpoint.address if stream.endpoint is not None else None
        self.recording.note(start_ms, self.sim.now_ms, status, ended, endpoint, len(stream.downstream.chunks))
        if report.outcomes.total() % CHECK_EVERY == 0:
            self._check()

    def _check(self) -> None:
        rules.redis_agrees_with_itself(self.view)
        rules.plugin_raised_nothing(self.sim)
        rules.nothing_was_logged_as_an_error(self.sim.gateway.logs)
        self.sim.gateway.logs.clear()

    def _calm(self) -> None:
        """Faults off; leases that were lost expire, and the plugin must hold none."""
        self.redis.calm = self.upstream.calm = self.clients.calm = True
        self.sim.settle()
        rules.nothing_is_open(self.sim)
        self.sim.advance(LEASE_TTL_MS)
        renewals = self.redis.renewals
        self.sim.advance(2 * LEASE_TTL_MS / RENEWALS_PER_TTL)
        rules.nothing_is_renewed(renewals, self.redis.renewals)
        rules.nothing_is_counted(self.view)
        self._check()

    def _probe(self) -> None:
        """All is well: every request is routed by Redis, whose counts are what is in flight.

        One request of each worker comes before the others: where the plugin had given Redis up, it learns from it.
        """
        for _ in range(self._workers):
            self._send()
        self.sim.run()
        self.upstream.calm_answer_ms = PROBE_ANSWER_MS
        probes = [self._send() for _ in range(PROBES)]
        for share in (0.1, 0.8):
            self.sim.advance(PROBE_ANSWER_MS * share)
            rules.every_request_is_routed_by_redis(probes)
            rules.counts_are_what_is_in_flight(self.view, probes, self._addresses)
        self.sim.run()
        self.sim.settle()
        rules.nothing_is_open(self.sim)
        rules.nothing_is_stored(self.view)
        self._check()
        self.report.memory_pages = max((vm.guest.memory_size or 0) // 65536 for vm in self.sim.deployment.vms)
