"""The run: clients come, everything goes wrong, it ends, and the rules are asked."""

from collections import Counter
from dataclasses import dataclass, field
from functools import partial

from ai_load_balancer.leases import RENEWALS_PER_TTL
from ai_load_balancer.redis_rung import PROBE_INTERVAL_MS
from proxywasm.enums import LogLevel

from host_sim.clock import ManualScheduler
from host_sim.guest import GuestFactory
from host_sim.setup import GuestSource, guest_factory
from host_sim.virtual import Recording, Request, VirtualSimulator
from host_sim.vm import Vm

from ..requests import REDIS
from . import rules, views
from .cases import CASES, CLUSTER_HEADER, ENDPOINTS, REDIS_BUDGET_MS, ROUTE, TICK_MS, Case
from .gateway_chaos import GatewayChaos
from .peer_chaos import ClientChaos, UpstreamChaos
from .redis_chaos import RedisChaos

HELD_MS_MAX = REDIS_BUDGET_MS + TICK_MS
ROUTE_TIMEOUT_MS = 200_000.0
CLIENT_EVERY_MS = 5.0  # mean
WORKERS = 2
CHECK_EVERY = 500  # requests
GROWTH_MAX = 32  # pages of 64 KiB: more requests in flight at once than ever before
RECOVERIES = 4  # requests of every worker before its breaker must be closed
PROBES = 200  # requests of the last part: enough to reap every expired lease
PROBE_ANSWER_TTLS = 2.5  # what is not renewed does not live as long
CALM_ANSWER_MS = 50.0


@dataclass(slots=True)
class Report:
    """`digest` is the hash of all that crossed the boundary of the guest, and when, and of every request's end."""

    case: str
    seed: int
    requests: int
    digest: str = ""
    crossings: int = 0
    virtual_s: float = 0.0
    held_ms_most: float = 0.0
    memory_pages_warm: int = 0
    memory_pages: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)


class FaultRun:
    """One gateway with the plugin `guest`; `play` once. The same arguments give the same report.

    client_every_ms: the mean time between two clients
    workers: of the gateway; None for one worker's VM and no others
    by_itself: Redis and the gateway fail again and again
    """

    def __init__(
        self,
        guest: GuestSource,
        seed: int,
        client_every_ms: float = CLIENT_EVERY_MS,
        workers: int | None = WORKERS,
        case: Case = CASES["global_least_request"],
        by_itself: bool = True,
    ) -> None:
        self.case = case
        self.report = Report(case.name, seed, 0)
        scheduler = ManualScheduler()
        self.redis = RedisChaos(f"{seed} redis", scheduler, by_itself)
        if case.limit:
            self.redis.memory.watch = partial(rules.limit_is_kept, case.limit)
        self.upstream = UpstreamChaos(f"{seed} upstream")
        self.clients = ClientChaos(f"{seed} clients", case.prompts)
        factory: GuestFactory = guest_factory(guest)
        self.recording = Recording(factory)
        self.sim = VirtualSimulator(
            self.recording,
            case.target,
            case.configuration(),
            case.clusters,
            {REDIS: self.redis.backend},
            self.upstream,
            ROUTE_TIMEOUT_MS,
            seed,
            scheduler=scheduler,
            plugin_options={"failure_policy": "FAIL_RELOAD"},
            log_level=LogLevel.WARN,
            route_name=ROUTE,
            cluster_header=CLUSTER_HEADER if case.picks_services else "",
            allow_on_headers_stop_iteration=True,  # prefix_cache on stock Envoy needs it
            workers=workers,
        )
        self.gateway = GatewayChaos(f"{seed} gateway", self.sim, case, self._died, by_itself)
        self.leases = views.RedisView(self.redis.memory, case.keys)
        self.board = views.BoardView(self.sim.gateway, case.keys[0])
        self._lease_ttl_ms = 1000 * case.lease_ttl_s
        self._addresses = frozenset(ENDPOINTS)
        self._client_every_ms = client_every_ms
        self._to_come = 0
        self._workers = workers or 1
        self._sent = 0
        self._never_decided = 0  # a VM died with them
        self._never_uncounted = 0

    def play(self, requests: int) -> Report:
        """Raises BrokenRule, with the seed."""
        report = self.report
        report.requests = requests
        try:
            self._storm(requests)
            self._calm()
            self._recover()
            self._probe()
            self.sim.finish()
        except rules.BrokenRule as error:
            error.add_note(
                f"{report.case}: seed {report.seed}, at {self.sim.now_ms} ms of virtual time, {report.outcomes}"
            )
            raise
        finally:
            self.sim.close()
        report.digest = self.recording.digest
        report.crossings = self.recording.crossings
        report.virtual_s = self.sim.now_ms / 1000
        report.decisions = views.decisions(self.sim.gateway)
        report.faults = self.redis.happened + self.upstream.happened + self.gateway.happened
        return report

    # One request

    def _send(self) -> Request:
        self._sent += 1
        ended = partial(self._ended, self.sim.now_ms)
        request = self.sim.send(self.clients.next(), ended, self._sent % self._workers)
        self.gateway.note_use(request.stream.vm)
        return request

    def _ended(self, start_ms: float, request: Request) -> None:
        stream, outcomes = request.stream, self.report.outcomes
        if not stream.vm.is_dead():
            held_ms = self._held_ms(request, start_ms)
            self.report.held_ms_most = max(self.report.held_ms_most, held_ms)
            # A change of the configuration starts the tick anew.
            patience_ms = HELD_MS_MAX + (TICK_MS if self.gateway.changed_ms >= start_ms else 0)
            rules.request_was_not_held(held_ms, patience_ms, request)
        chosen = stream.override_host
        excuses = rules.Excuses(
            refused=bool(self.case.limit),
            endpoint_left=chosen in self.gateway.left_ms and self.gateway.left_ms[chosen] >= start_ms,
        )
        rules.request_was_served(request, self._addresses, excuses)
        status = (stream.downstream.headers.get(b":status") or b"").decode() if stream.downstream.headers else "none"
        ended = "client left" if request.client_left else "complete" if stream.downstream.ended else "broke off"
        outcomes[f"{'chosen' if stream.overridden else 'proxy'} {status} {ended}"] += 1
        endpoint = stream.endpoint.address if stream.endpoint is not None else None
        self.recording.note(start_ms, self.sim.now_ms, status, ended, endpoint, len(stream.downstream.chunks))
        if outcomes.total() % CHECK_EVERY == 0:
            self._check()

    def _held_ms(self, request: Request, start_ms: float) -> float:
        """From what the decision needs to the upstream, or to the request's end if it did not get there."""
        held_ms = request.held_ms if request.held_ms is not None else self.sim.now_ms - start_ms
        if not self.case.reads_body:
            return held_ms
        return held_ms - request.upload_ms if request.upload_ms is not None else 0.0

    def _died(self, vm: Vm) -> None:
        lost = [request.stream for request in self.sim.open_requests.values() if request.stream.vm is vm]
        undecided = sum(stream.upstream.headers is None for stream in lost)
        self._never_decided += undecided
        self._never_uncounted += len(lost) - undecided

    # The parts of the run

    def _storm(self, requests: int) -> None:
        self._to_come = requests
        self.sim.scheduler.call_later(0, self._come)
        self.sim.run(lambda: not self._to_come and not self.sim.open_requests)

    def _come(self) -> None:
        """One client comes, and the next one some time later."""
        self._send()
        self._to_come -= 1
        if self._to_come == self.report.requests * 3 // 4:
            self.report.memory_pages_warm = self._memory_pages()
        if self._to_come == self.report.requests // 4:
            self.gateway.keep()
        if self._to_come:
            self.sim.scheduler.call_later(self.clients.gap_ms(self._client_every_ms), self._come)

    def _check(self) -> None:
        rules.redis_agrees_with_itself(self.leases)
        rules.plugin_raised_nothing(self.sim)
        rules.nothing_was_logged_as_an_error(self.sim.gateway.logs)
        self.sim.gateway.logs.clear()

    def _calm(self) -> None:
        """Faults off; leases that were lost expire, and the plugin must hold none."""
        self.redis.calm = self.upstream.calm = self.clients.calm = True
        self.gateway.end()
        self._check_at_rest()
        self.sim.advance(self._lease_ttl_ms)
        renewals = self.redis.renewals
        self.sim.advance(2 * self._lease_ttl_ms / RENEWALS_PER_TTL)
        rules.nothing_is_renewed(renewals, self.redis.renewals)
        rules.nothing_is_counted(self.leases, self.board)
        self.report.memory_pages = self._memory_pages()
        rules.memory_is_flat(self.report.memory_pages_warm, self.report.memory_pages, GROWTH_MAX)

    def _check_at_rest(self) -> None:
        self.sim.settle()
        rules.nothing_is_open(self.sim)
        rules.every_request_was_decided_once(views.decisions(self.sim.gateway), self._sent - self._never_decided)
        rules.gauge_is_what_died(views.counted_in_flight(self.sim.gateway), self._never_uncounted)
        self._check()

    def _recover(self) -> None:
        """Redis is tried again: a breaker that is open lets one request through in PROBE_INTERVAL_MS."""
        self.upstream.calm_answer_ms = CALM_ANSWER_MS
        for _ in range(RECOVERIES):
            for _ in range(self._workers):
                self._send()
            self.sim.advance(PROBE_INTERVAL_MS)
        self._check_at_rest()
        rules.nothing_is_counted(self.leases, self.board)

    def _probe(self) -> None:
        """All is well: the first rung decides, its counts are what is in flight, and no endpoint has too much."""
        case, gateway = self.case, self.sim.gateway
        answer_ms = self.upstream.calm_answer_ms = PROBE_ANSWER_TTLS * self._lease_ttl_ms
        before = views.decisions(gateway)
        probes = [self._send() for _ in range(PROBES)]
        for share in (0.1, 0.8):
            self.sim.advance(answer_ms * share)
            counts = self.leases.live_counts() if case.rung == "redis" else self.board.counts()
            places = [probe.stream.endpoint.address for probe in probes if probe.stream.endpoint is not None]
            in_flight = Counter(map(case.counted_as, places))
            rules.counts_are_what_is_in_flight(counts, in_flight, case.most_at_one(PROBES))
        routed = case.routed(PROBES)
        expected = Counter({f"{case.rung} routed": routed, f"{case.rung} rejected": PROBES - routed})
        rules.requests_were_decided(views.decisions(gateway) - before, +expected)
        self.sim.run()
        self._check_at_rest()
        rules.nothing_is_counted(self.leases, self.board)
        rules.nothing_is_stored(self.leases)

    def _memory_pages(self) -> int:
        return max((vm.guest.memory_size or 0) // 65536 for vm in self.sim.deployment.vms)
