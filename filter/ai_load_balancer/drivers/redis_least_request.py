"""global_least_request on a gateway with Redis: ask for a lease, hold the request, resume it on the reply.

Whatever goes wrong, the request continues without an override, on the proxy's own balancing.
"""

import logging
from typing import TYPE_CHECKING

from proxywasm import (
    Counter,
    HostError,
    HttpContext,
    RedisClient,
    RedisError,
    RedisUnreachable,
    capabilities,
    continue_request,
    higress,
    send_local_response,
)

from .. import outcomes
from ..leases import Lease, Leases
from ..log_prefix import log_prefix
from ..policies.decision import Rejected
from ..policies.global_least_request import MalformedReply, read_reply
from .lease_driver import LeaseDriver
from .texts import TOO_MANY_REQUESTS

if TYPE_CHECKING:
    from ..plugin import AiLoadBalancer

_HOLD_REQUEST = capabilities.HIGRESS.hold_request
_route_name = capabilities.HIGRESS.route_name.get
_cluster_name = capabilities.HIGRESS.cluster_name.get

_logger = logging.getLogger(__name__)


class RedisLeastRequest(HttpContext):
    """One request. Its lease is asked for in the headers callback and given back when the stream is done.

    A lease whose reply is still awaited then, is given back when the reply comes, even if this context is gone.
    """

    root: "AiLoadBalancer"
    driver: "LeaseDriver[Leases]"
    _lease: Lease | None = None
    _endpoints: tuple[str, ...] = ()
    _is_done = False

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        route = _route_name()
        cluster = _cluster_name()
        if not route or not cluster:
            self._give_up(outcomes.NO_ROUTE, "the request has no route or no cluster name")
            return None
        try:
            endpoints = self.root.upstream_hosts.healthy(cluster, higress.upstream_hosts())
            if not endpoints:
                self._give_up(outcomes.NO_ENDPOINT, "the cluster has no healthy endpoint")
                return None
            self._lease = self.driver.leases.ask(self, route, cluster, endpoints, self._on_reply)
        except RedisUnreachable as error:
            self._give_up(outcomes.REDIS_UNREACHABLE, error)
            return None
        except (HostError, ValueError) as error:
            self._give_up(outcomes.HOST_ERROR, error)
            return None
        self._endpoints = endpoints
        return _HOLD_REQUEST

    def on_done(self) -> bool | None:
        self._is_done = True
        lease = self._lease
        if lease is not None and lease.endpoint:
            self._lease = None
            self.driver.leases.give_back(lease)
        return None

    def _on_reply(self, reply: object) -> None:
        """Runs exactly once for each lease that was asked for, and maybe after the stream is done."""
        lease = self._lease
        assert lease is not None
        if self._is_done:
            outcomes.CLIENT_GONE.increment(1)
            self.driver.leases.give_back(lease)
            return
        answered_here = False
        try:
            answered_here = self._carry_out(reply, lease)
        finally:
            if not answered_here:
                continue_request()

    def _carry_out(self, reply: object, lease: Lease) -> bool:
        """Does what the reply says. True if the request was answered with 429."""
        try:
            decision = read_reply(reply, self._endpoints)
            if isinstance(decision, Rejected):
                self._lease = None
                outcomes.REJECTED_BY_REDIS.increment(1)
                send_local_response(429, TOO_MANY_REQUESTS)
                return True
            higress.set_override_host(decision.endpoint)
            self.driver.leases.hold(lease, decision.endpoint)
            outcomes.ROUTED_BY_REDIS.increment(1)
        except (HostError, MalformedReply) as error:
            self._lease = None
            self.driver.leases.give_back(lease)
            self._give_up(*_diagnosis(reply, error))
        return False

    def _give_up(self, outcome: Counter, reason: object) -> None:
        outcome.increment(1)
        _logger.warning("%s%s; the request continues without an override", log_prefix(self), reason)


def _diagnosis(reply: object, error: Exception) -> tuple[Counter, object]:
    """The outcome to count and the reason to log, when a reply did not lead to a decision that was carried out."""
    if isinstance(reply, RedisUnreachable):
        return outcomes.REDIS_UNREACHABLE, reply
    if isinstance(reply, RedisError):
        return outcomes.REDIS_ERROR, f"Redis answered: {reply}"
    if isinstance(error, MalformedReply):
        return outcomes.REDIS_ERROR, f"unexpected reply of Redis: {error}"
    return outcomes.OVERRIDE_REFUSED, error


class RedisLeastRequestDriver(LeaseDriver[Leases]):
    """`limit` is the highest count that an endpoint may reach; 0 for no limit."""

    def __init__(self, root: "AiLoadBalancer", client: RedisClient, limit: int) -> None:
        super().__init__(Leases(root, client, limit), RedisLeastRequest)
