"""global_least_request on a gateway without Redis: counts in shared data, the endpoint named by a request header.

Envoy's override_host load balancing reads the header. Clients can send it too, so it is replaced or removed, always.
"""

import logging
from typing import TYPE_CHECKING

from proxywasm import Counter, HostError, HttpContext, capabilities, send_local_response
from proxywasm.errors import CasMismatch

from .. import outcomes
from ..local_counts import LocalCounts
from ..log_prefix import log_prefix
from ..policies.decision import Rejected
from .driver import bound
from .texts import TOO_MANY_REQUESTS

if TYPE_CHECKING:
    from ..plugin import AiLoadBalancer

ENDPOINT_HEADER = "x-gateway-destination-endpoint"

_route_name = capabilities.ENVOY.route_name.get
_cluster_name = capabilities.ENVOY.cluster_name.get

_logger = logging.getLogger(__name__)


class LocalLeastRequest(HttpContext):
    """One request. It is counted in the headers callback, and no more once the stream is done."""

    root: "AiLoadBalancer"
    driver: "LocalLeastRequestDriver"
    _counted_at: tuple[bytes, str] | None = None

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        driver = self.driver
        try:
            # Stock Envoy's routes often have no name, and the counts can do without.
            key = b"ailb:{%b|%b}:in_flight" % (_route_name() or b"", _cluster_name() or b"")
            decision = driver.counts.take(key, driver.endpoints, driver.limit)
            if isinstance(decision, Rejected):
                outcomes.REJECTED_LOCALLY.increment(1)
                send_local_response(429, TOO_MANY_REQUESTS)
                return None
            self._counted_at = key, decision.endpoint
            self.request_headers.set(ENDPOINT_HEADER, decision.endpoint)
            outcomes.ROUTED_LOCALLY.increment(1)
        except CasMismatch as error:
            self._give_up(outcomes.CONTENDED, error)
        except HostError as error:
            self._give_up(outcomes.HOST_ERROR, error)
        except Exception:
            self.request_headers.remove(ENDPOINT_HEADER)
            raise
        return None

    def on_done(self) -> bool | None:
        if self._counted_at is not None:
            key, endpoint = self._counted_at
            self._counted_at = None
            self.driver.counts.give_back(key, endpoint)
        return None

    def _give_up(self, outcome: Counter, reason: object) -> None:
        self.request_headers.remove(ENDPOINT_HEADER)
        outcome.increment(1)
        _logger.warning("%s%s; the proxy's own balancing chooses", log_prefix(self), reason)


class LocalLeastRequestDriver:
    """`limit` is the highest count that an endpoint may reach; 0 for no limit."""

    is_idle = True  # a request gives back by itself

    def __init__(self, counts: LocalCounts, endpoints: tuple[str, ...], limit: int) -> None:
        self.counts = counts
        self.endpoints = endpoints
        self.limit = limit
        self.context_class = bound(LocalLeastRequest, self)

    def on_tick(self) -> None:
        pass
