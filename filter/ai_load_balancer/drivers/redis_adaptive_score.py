"""AdaptiveScore with the in-flight counts of all gateways: the candidates are scored here, and Redis takes one of them.

Whenever Redis cannot, the lowest score of this gateway decides.
"""

import logging
from collections.abc import Callable, Sequence
from random import getrandbits
from typing import TYPE_CHECKING

from proxywasm import (
    Counter,
    HostError,
    HttpContext,
    RedisClient,
    RedisUnreachable,
    capabilities,
    clock,
    continue_request,
)

from ..leases import WEIGHT, Lease, Leases
from ..log_prefix import log_prefix
from ..policies.adaptive_score import choose
from ..policies.decision import Rejected
from ..policies.global_least_request import MalformedReply, read_reply
from ..scripts import CLUSTER_ACQUIRE
from .cluster_metrics import ClusterMetricsDriver, FirstTokenRequest
from .cluster_modes import AdaptiveScoreMode
from .driver import bound
from .target_cluster import send_to_cluster

if TYPE_CHECKING:
    from ..plugin import AiLoadBalancer

_HOLD_REQUEST = capabilities.HIGRESS.hold_request
_route_name = capabilities.HIGRESS.route_name.get

_ROUTED_BY_REDIS = Counter("ailb_decisions_total.policy.cluster_metrics.rung.redis.outcome.routed")
_ROUTED_LOCALLY = Counter("ailb_decisions_total.policy.cluster_metrics.rung.local.outcome.routed")
_CLIENT_GONE = Counter("ailb_decisions_total.policy.cluster_metrics.rung.redis.outcome.client_gone")
_HOST_ERROR = Counter("ailb_decisions_total.policy.cluster_metrics.rung.proxy.outcome.host_error")

_logger = logging.getLogger(__name__)


class RedisAdaptiveScoreRequest(FirstTokenRequest):
    """One request. A lease whose reply is still awaited when the stream is done, is given back when the reply comes."""

    driver: "RedisAdaptiveScoreDriver"
    _lease: Lease | None = None
    _candidates: Sequence[int] = ()
    _scores: Sequence[float] = ()
    _is_done = False

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        driver = self.driver
        self._started_ms = now_ms = clock.now_ns() // 1_000_000
        try:
            self._candidates, self._scores = driver.adaptive.scored(driver.among(), now_ms)
            self._lease = driver.leases.ask_for_service(
                self, _route_name() or b"", self._names(), self._scores, self._on_reply
            )
        except RedisUnreachable as error:
            self._decide_here(error)
            return None
        except HostError as error:
            self._give_up(error)
            return None
        return _HOLD_REQUEST

    def on_done(self) -> bool | None:
        self._is_done = True
        lease = self._lease
        if lease is not None and lease.endpoint:
            self._lease = None
            self.driver.leases.give_back(lease)
        return super().on_done()

    def _on_reply(self, reply: object) -> None:
        """Runs exactly once for each lease that was asked for, and maybe after the stream is done."""
        lease = self._lease
        assert lease is not None
        if self._is_done:
            _CLIENT_GONE.increment(1)
            self.driver.leases.give_back(lease)
            return
        try:
            self._carry_out(reply, lease)
        finally:
            continue_request()

    def _carry_out(self, reply: object, lease: Lease) -> None:
        names = self._names()
        try:
            decision = read_reply(reply, names)
            if isinstance(decision, Rejected):
                raise MalformedReply("this script never rejects")
        except MalformedReply as error:
            self._lease = None
            self.driver.leases.give_back(lease)
            self._decide_here(reply if isinstance(reply, Exception) else error)
            return
        self.driver.leases.hold(lease, decision.endpoint)
        self._send_to(self._candidates[names.index(decision.endpoint)], _ROUTED_BY_REDIS)

    def _decide_here(self, reason: object) -> None:
        _logger.warning("%s%s; this gateway's counts decide", log_prefix(self), reason)
        self._send_to(choose(self._scores, self._candidates, getrandbits(31)), _ROUTED_LOCALLY)

    def _send_to(self, position: int, outcome: Counter) -> None:
        driver = self.driver
        try:
            driver.adaptive.start_at(position, self._started_ms)
            self._position = position
            driver.note_pick(position)
            send_to_cluster(self, driver.cluster_header, driver.services[position], driver.reroute)
            outcome.increment(1)
        except HostError as error:
            self._finish(None)
            self._give_up(error)

    def _give_up(self, reason: object) -> None:
        _HOST_ERROR.increment(1)
        _logger.warning("%s%s; the request continues on its own route", log_prefix(self), reason)

    def _names(self) -> tuple[str, ...]:
        services = self.driver.services
        return tuple([services[position] for position in self._candidates])


class ServiceLeases(Leases):
    """Leases on services. `key_prefix` keeps the counts of several deployments apart in one Redis."""

    def __init__(self, root: "AiLoadBalancer", client: RedisClient, key_prefix: str) -> None:
        super().__init__(root, client)
        self._scope_name = f"{key_prefix}|AdaptiveScore".encode()

    def ask_for_service(
        self,
        context: HttpContext,
        route: bytes,
        services: Sequence[str],
        scores: Sequence[float],
        on_reply: Callable[[object], object],
    ) -> Lease:
        """As `ask`, but `on_reply` gets the reply to cluster_acquire.lua."""
        lease = self.new_lease(self.scope(route, self._scope_name))
        command: list[str | bytes | int] = [*CLUSTER_ACQUIRE.by_sha, *lease.scope.keys]
        command += (WEIGHT, self.ttl_ms, lease.id, getrandbits(31))
        for service, score in zip(services, scores, strict=True):
            command += (service, repr(score))
        self._client.call(context, command, on_reply, on_reply, CLUSTER_ACQUIRE)
        return lease


class RedisAdaptiveScoreDriver(ClusterMetricsDriver):
    """As ClusterMetricsDriver."""

    def __init__(
        self,
        leases: ServiceLeases,
        services: Sequence[str],
        mode: AdaptiveScoreMode,
        rate_limit: float,
        queue_size: int,
        cluster_header: str,
        reroute: bool,
    ) -> None:
        super().__init__(services, mode, rate_limit, queue_size, cluster_header, reroute)
        self.adaptive = mode
        self.leases = leases
        self.context_class = bound(RedisAdaptiveScoreRequest, self)

    @property
    def is_idle(self) -> bool:
        return super().is_idle and not self.leases.are_held

    def on_tick(self) -> None:
        super().on_tick()
        self.leases.on_tick(clock.now_ns() // 1_000_000)
