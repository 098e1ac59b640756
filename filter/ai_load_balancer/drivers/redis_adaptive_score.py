"""AdaptiveScore with the in-flight counts of all gateways: the candidates are scored here, and Redis takes one of them.

A request is held until the reply, and no longer than its budget. Whenever Redis cannot, the lowest score of this
gateway decides.
"""

import logging
from collections.abc import Callable, Sequence
from random import getrandbits
from typing import TYPE_CHECKING

from proxywasm import (
    HostError,
    HttpContext,
    RedisClient,
    RedisError,
    RedisUnreachable,
    capabilities,
    clock,
    continue_request,
)
from proxywasm.redis_client import Argument

from ..explanation import Explainer
from ..leases import WEIGHT, Lease, Leases
from ..log_prefix import log_prefix
from ..policies.decision import Rejected
from ..policies.global_least_request import MalformedReply, read_reply
from ..policies.lowest import lowest
from ..redis_rung import RedisRung
from ..scripts import CLUSTER_ACQUIRE
from ..telemetry import LOCAL, REDIS, ROUTED
from .cluster_counts import AdaptiveScoreMode
from .cluster_metrics import NS_PER_MS, TELEMETRY, ClusterMetricsDriver, FirstTokenRequest
from .cluster_mode import RANDOM_BITS
from .driver import SLOW_TICK_PERIOD_MS, bound
from .target_cluster import TargetCluster

if TYPE_CHECKING:
    from ..plugin import AiLoadBalancer

_HOLD_REQUEST = capabilities.HIGRESS.hold_request

_ROUTED_BY = {rung: TELEMETRY.decisions(rung, ROUTED) for rung in (REDIS, LOCAL)}

SCORE_SCALE = 1_000_000  # scores go to Redis as whole numbers, which are cheap to write

_now_ns = clock.now_ns
_logger = logging.getLogger(__name__)


class RedisAdaptiveScoreRequest(FirstTokenRequest):
    """One request. A lease that nobody waits for any longer is given back when the reply comes."""

    driver: "RedisAdaptiveScoreDriver"
    # What is in flight at a service counts for all routes; and to read the route's name would make the gateway choose
    # the route before the header names the cluster.
    _route = b""
    _candidates: Sequence[int] = ()
    _scores: Sequence[float] = ()
    _names: tuple[str, ...] = ()  # of the candidates, as Redis is asked for them
    _asked: Lease | None = None  # what a reply is awaited for
    _lost: Lease | None = None  # what nobody waits for any longer
    _lease: Lease | None = None

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        self._started_ms = now_ms = _now_ns() / NS_PER_MS
        try:
            self._candidates, self._scores = self.driver.adaptive.scored(now_ms)
            if self._is_asked(int(now_ms)):
                return _HOLD_REQUEST
        except HostError as error:
            self._give_up(error)
            return None
        self._decide_here()
        return None

    def on_done(self) -> bool | None:
        driver = self.driver
        if self._asked is not None:
            self._lost, self._asked = self._asked, None
            driver.rung.end_wait(self)
            TELEMETRY.decided(REDIS, "client_gone")
        elif self._lease is not None:
            driver.leases.give_back(self._lease)
            self._lease = None
        return super().on_done()

    def on_budget_spent(self) -> None:
        """The tick resumes the request."""
        self._lost, self._asked = self._asked, None
        self._fall_back("slow", "no reply within redis_budget_ms")
        try:
            self._decide_here()
        finally:
            continue_request()

    def _is_asked(self, now_ms: int) -> bool:
        """Asks Redis for a lease, if it is worth it."""
        rung, leases = self.driver.rung, self.driver.leases
        if not rung.may_ask(now_ms):
            TELEMETRY.fell_back(REDIS, "breaker_open")
            return False
        services = self.driver.services
        self._names = tuple([services[position] for position in self._candidates])
        lease = leases.new_service_lease(self._route)
        try:
            leases.ask_for_service(self, lease, self._names, self._scores, self._on_reply)
        except RedisUnreachable as error:
            rung.failed(now_ms)
            self._fall_back("unreachable", error)
            return False
        self._asked = lease
        rung.wait(self, now_ms)
        return True

    def _on_reply(self, reply: object) -> None:
        """Runs at most once, and maybe after the stream is done or was resumed by the tick."""
        if self._lost is not None:
            self.driver.leases.give_back(self._lost)
            self._lost = None
            return
        self.driver.rung.end_wait(self)
        try:
            self._carry_out(reply)
        finally:
            continue_request()
        TELEMETRY.lookup_us.record(int((_now_ns() / NS_PER_MS - self._started_ms) * 1000))

    def _carry_out(self, reply: object) -> None:
        driver, names = self.driver, self._names
        lease, self._asked = self._asked, None
        assert lease is not None
        try:
            decision = read_reply(reply, names)
            if isinstance(decision, Rejected):
                raise MalformedReply("this script never rejects")
        except MalformedReply as error:
            driver.rung.failed(_now_ns() // 1_000_000)
            self._fall_back(*_diagnosis(reply, error))
            driver.leases.give_back(lease)
            self._decide_here()
            return
        driver.rung.succeeded()
        driver.leases.hold(lease, decision.endpoint)
        self._lease = lease
        self._send_to(self._candidates[names.index(decision.endpoint)], REDIS)

    def _decide_here(self) -> None:
        position = self._candidates[lowest(self._scores, getrandbits(RANDOM_BITS))]
        if self._send_to(position, LOCAL):
            self._lease = self.driver.leases.hold_unasked_at(self._route, self.driver.services[position])

    def _send_to(self, position: int, rung: str) -> bool:
        """Names the service to the proxy. If that is not possible, the request goes on uncounted; then False."""
        driver = self.driver
        try:
            driver.adaptive.start_at(position, self._started_ms)
            self._position = position
            TELEMETRY.in_flight.add(1)
            driver.target.send(driver.services[position])
            _ROUTED_BY[rung].increment(1)
        except HostError as error:
            self._give_up(error)
            if self._lease is not None:
                driver.leases.give_back(self._lease)
                self._lease = None
            return False
        if driver.explainer is not None:
            self._explain(driver.explainer, rung, position)
        return True

    def _fall_back(self, reason: str, detail: object) -> None:
        TELEMETRY.fell_back(REDIS, reason)
        _logger.warning("%s%s; this gateway's counts decide", log_prefix(self), detail)

    def _compared(self, position: int) -> dict[int, dict[str, float]]:
        return {i: {"score": round(score, 3)} for i, score in zip(self._candidates, self._scores, strict=True)}


def _diagnosis(reply: object, error: MalformedReply) -> tuple[str, object]:
    """Why a reply cannot be used: the reason to count and the detail to log."""
    if isinstance(reply, RedisUnreachable):
        return "unreachable", reply
    if isinstance(reply, RedisError):
        return "error", f"Redis answered: {reply}"
    return "error", f"unexpected reply of Redis: {error}"


class ServiceLeases(Leases):
    """Leases on services. `key_prefix` keeps the counts of several deployments apart in one Redis."""

    def __init__(self, root: "AiLoadBalancer", client: RedisClient, key_prefix: str) -> None:
        super().__init__(root, client)
        self._scope_name = f"{key_prefix}|AdaptiveScore".encode()

    def new_service_lease(self, route: bytes) -> Lease:
        """A lease that is not asked for yet."""
        return self.new_lease(self.scope(route, self._scope_name))

    def hold_unasked_at(self, route: bytes, service: str) -> Lease:
        """As `hold_unasked`."""
        return self.hold_unasked(self.scope(route, self._scope_name), service)

    def ask_for_service(
        self,
        context: HttpContext,
        lease: Lease,
        services: Sequence[str],
        scores: Sequence[float],
        on_reply: Callable[[object], object],
    ) -> None:
        """As `ask`; `on_reply` gets the reply to cluster_acquire.lua."""
        command: list[Argument] = [*CLUSTER_ACQUIRE.by_sha, *lease.scope.keys]
        command += (WEIGHT, self.ttl_ms, lease.id, getrandbits(RANDOM_BITS))
        for service, score in zip(services, scores, strict=True):
            command += (service, max(1, int(score * SCORE_SCALE)))
        self.ask(context, CLUSTER_ACQUIRE, tuple(command), on_reply)


class RedisAdaptiveScoreDriver(ClusterMetricsDriver):
    """As ClusterMetricsDriver; a request waits at most `budget_ms` for Redis."""

    def __init__(
        self,
        leases: ServiceLeases,
        budget_ms: int,
        services: Sequence[str],
        mode: AdaptiveScoreMode,
        target: TargetCluster,
        explainer: Explainer | None = None,
    ) -> None:
        super().__init__(services, mode, target, explainer)
        self.adaptive = mode
        self.leases = leases
        self.rung: RedisRung[RedisAdaptiveScoreRequest] = RedisRung(budget_ms)
        self.tick_period_ms = self.rung.tick_period_ms
        self._next_mode_tick_ms = 0
        self.context_class = bound(RedisAdaptiveScoreRequest, self, explainer)

    @property
    def is_idle(self) -> bool:
        return super().is_idle and not self.leases.are_held and self.rung.is_idle

    def on_tick(self) -> None:
        now_ms = _now_ns() // 1_000_000
        self.rung.on_tick(now_ms)
        self.leases.on_tick(now_ms)
        if now_ms >= self._next_mode_tick_ms:
            self._next_mode_tick_ms = now_ms + SLOW_TICK_PERIOD_MS
            super().on_tick()
