"""cluster_hash at work: the header's value chooses the cluster, and without it the request is refused."""

import logging
from typing import TYPE_CHECKING

from proxywasm import Counter, HostError, HttpContext, send_local_response

from ..log_prefix import log_prefix
from ..policies.cluster_hash import HASH_HEADER_REQUIRED, ClusterHash
from .driver import SLOW_TICK_PERIOD_MS, bound
from .target_cluster import send_to_cluster

if TYPE_CHECKING:
    from ..plugin import AiLoadBalancer

_ROUTED = Counter("ailb_decisions_total.policy.cluster_hash.rung.header.outcome.routed")
_REJECTED = Counter("ailb_decisions_total.policy.cluster_hash.rung.header.outcome.rejected")
_HOST_ERROR = Counter("ailb_decisions_total.policy.cluster_hash.rung.proxy.outcome.host_error")

_logger = logging.getLogger(__name__)


class ClusterHashRequest(HttpContext):
    root: "AiLoadBalancer"
    driver: "ClusterHashDriver"

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        driver = self.driver
        try:
            cluster = driver.policy.choose(self.request_headers.get(driver.hash_header))
            if cluster is None:
                _REJECTED.increment(1)
                send_local_response(403, HASH_HEADER_REQUIRED)
                return None
            send_to_cluster(self, driver.cluster_header, cluster, driver.reroute)
            _ROUTED.increment(1)
        except HostError as error:
            _HOST_ERROR.increment(1)
            _logger.warning("%s%s; the request continues on its own route", log_prefix(self), error)
        return None


class ClusterHashDriver:
    """`reroute`: whether Higress may match the routes again."""

    tick_period_ms = SLOW_TICK_PERIOD_MS
    is_idle = True

    def __init__(self, policy: ClusterHash, hash_header: str, cluster_header: str, reroute: bool) -> None:
        self.policy = policy
        self.hash_header = hash_header
        self.cluster_header = cluster_header
        self.reroute = reroute
        self.context_class = bound(ClusterHashRequest, self)

    def on_tick(self) -> None:
        pass
