"""cluster_hash at work: the header's value chooses the cluster, and without it the request is refused."""

import logging
from typing import TYPE_CHECKING

from proxywasm import HostError, HttpContext, send_local_response

from ..explanation import Explainer, Explanation
from ..log_prefix import log_prefix
from ..policies.cluster_hash import HASH_HEADER_REQUIRED, ClusterHash, slot
from ..telemetry import HEADER, PROXY, REJECTED, ROUTED, Telemetry
from .driver import SLOW_TICK_PERIOD_MS, bound
from .target_cluster import TargetCluster

if TYPE_CHECKING:
    from ..plugin import AiLoadBalancer

_TELEMETRY = Telemetry("cluster_hash")

_logger = logging.getLogger(__name__)


class ClusterHashRequest(HttpContext):
    root: "AiLoadBalancer"
    driver: "ClusterHashDriver"

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        driver = self.driver
        try:
            value = self.request_headers.get(driver.hash_header)
            cluster = driver.policy.choose(value)
            if value is None or cluster is None:
                self._refuse()
                return None
            driver.target.send(cluster)
            _TELEMETRY.decided(HEADER, ROUTED)
            if driver.explainer is not None:
                explanation = Explanation(HEADER, ROUTED, cluster, {"slot": slot(value)}, {})
                driver.explainer.explain(self, explanation)
        except HostError as error:
            _TELEMETRY.decided(PROXY, "host_error")
            _logger.warning("%s%s; the request continues on its own route", log_prefix(self), error)
        return None

    def _refuse(self) -> None:
        explainer = self.driver.explainer
        _TELEMETRY.decided(HEADER, REJECTED)
        if explainer is not None:
            explainer.explain(self, Explanation(HEADER, REJECTED, "", {}, {}))
        send_local_response(403, HASH_HEADER_REQUIRED)


class ClusterHashDriver:
    """Requests are sent off by `target` to the cluster that `policy` chooses by the value of `hash_header`."""

    is_idle = True
    tick_period_ms = SLOW_TICK_PERIOD_MS

    def __init__(
        self, policy: ClusterHash, hash_header: str, target: TargetCluster, explainer: Explainer | None = None
    ) -> None:
        self.policy = policy
        self.hash_header = hash_header
        self.target = target
        self.explainer = explainer
        self.context_class = bound(ClusterHashRequest, self, explainer)

    def on_tick(self) -> None:
        pass
