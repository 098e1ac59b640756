"""endpoint_metrics on Higress: decided from what the host's health checks scraped, without a callout.

Where the request's model makes no difference, the headers decide and no body is read. Whatever goes wrong, the request
continues without an override, on the proxy's own balancing.
"""

import logging
from contextlib import suppress
from random import getrandbits
from typing import TYPE_CHECKING

from proxywasm import Counter, HostError, HttpContext, capabilities, clock, higress, shared_data
from proxywasm.enums import DataAction, HeaderAction
from proxywasm.errors import CasMismatch

from ..log_prefix import log_prefix
from ..policies.endpoint_loads import EndpointLoads
from ..policies.endpoint_metrics import Choice, EndpointMetrics, View, is_failure
from ..policies.request_model import model_of
from ..readable_body import has_readable_body
from ..upstream_metrics import UpstreamMetrics
from .driver import SLOW_TICK_PERIOD_MS, bound

if TYPE_CHECKING:
    from ..plugin import AiLoadBalancer

RANDOM_BITS = 31
_AWAIT_BODY = int(HeaderAction.STOP_ITERATION)
_AWAIT_MORE = int(DataAction.STOP_ITERATION_AND_BUFFER)


def _counter(rung: str, outcome: str) -> Counter:
    return Counter(f"ailb_decisions_total.policy.endpoint_metrics.rung.{rung}.outcome.{outcome}")


_ROUTED = _counter("metrics", "routed")
_UNCOUNTED = _counter("metrics", "shared_data_contended")  # routed too, without being added to the load
_NO_METRICS = _counter("proxy", "no_metrics")
_NO_CLUSTER = _counter("proxy", "no_cluster")
_OVERRIDE_REFUSED = _counter("proxy", "override_refused")
_HOST_ERROR = _counter("proxy", "host_error")

_cluster_name = capabilities.HIGRESS.cluster_name.get

_logger = logging.getLogger(__name__)


class EndpointMetricsRequest(HttpContext):
    """One request. Of its response, the status alone is looked at."""

    root: "AiLoadBalancer"
    driver: "EndpointMetricsDriver"
    _cluster = b""
    _view: View
    _choice: Choice | None = None
    _awaits_body = False

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        driver = self.driver
        cluster = _cluster_name()
        if not cluster:
            self._give_up(_NO_CLUSTER, "the request has no cluster name")
            return None
        try:
            self._view = view = driver.metrics.view(cluster, higress.upstream_hosts(), now_ms())
        except (HostError, ValueError) as error:
            self._give_up(_HOST_ERROR, error)
            return None
        self._cluster = cluster
        if not end_of_stream and driver.policy.needs_model(view) and has_readable_body(self):
            self._awaits_body = True
            return _AWAIT_BODY
        if not end_of_stream:
            self.want_no_more("on_request_body", "on_request_trailers")
        self._route(None)
        return None

    def on_request_body(self, body_size: int, end_of_stream: bool) -> int | None:
        if self._awaits_body:
            if not end_of_stream:
                return _AWAIT_MORE
            self._route_by_body()
        return None

    def on_request_trailers(self, num_trailers: int) -> int | None:
        if self._awaits_body:
            self._route_by_body()
        return None

    def on_response_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        choice = self._choice
        if choice is not None:
            status = self.response_headers.get(":status") or ""
            failed = is_failure(int(status) if status.isdecimal() else None)
            if failed or choice.has_failed:
                self.driver.note_outcome(self._cluster, self._view.addresses[choice.position], failed)
        return None

    def _route_by_body(self) -> None:
        self._awaits_body = False
        self._route(model_of(self.request_body.get() or b""))

    def _route(self, model: str | None) -> None:
        view = self._view
        try:
            choice = self.driver.choose(self._cluster, view, model)
        except HostError as error:
            self._give_up(_HOST_ERROR, error)
            return
        if choice is None:
            self._give_up(_NO_METRICS, "no healthy endpoint has metrics that can be read")
            return
        try:
            higress.set_override_host(view.addresses[choice.position])
        except HostError as error:
            self._give_up(_OVERRIDE_REFUSED, error)
            return
        self._choice = choice
        _ROUTED.increment(1)

    def _give_up(self, outcome: Counter, reason: object) -> None:
        outcome.increment(1)
        _logger.warning("%s%s; the request continues without an override", log_prefix(self), reason)


class EndpointMetricsDriver:
    """One configuration. The loads are shared by all workers and routes of a cluster."""

    tick_period_ms = SLOW_TICK_PERIOD_MS
    is_idle = True  # no request holds anything

    def __init__(self, policy: EndpointMetrics) -> None:
        self.policy = policy
        self.metrics = UpstreamMetrics(policy.read)
        self.context_class = bound(EndpointMetricsRequest, self)

    def on_tick(self) -> None:
        pass

    def choose(self, cluster: bytes, view: View, model: str | None) -> Choice | None:
        """Decides and counts the request; None if no metrics are known. Raises HostError.

        If other workers changed the loads at every attempt, it goes where the last one would have sent it, uncounted.
        """
        if not view.known:
            return None
        choice: Choice | None = None
        random_number, at_ms = getrandbits(RANDOM_BITS), now_ms()

        def change(value: bytes | None) -> bytes:
            nonlocal choice
            loads = EndpointLoads.updated(value, view.scrapes)
            choice = self.policy.choose(view, loads, at_ms, random_number, model)
            return loads.encode()

        try:
            shared_data.update(self._key(cluster), change)
        except CasMismatch:
            _UNCOUNTED.increment(1)
        return choice

    def note_outcome(self, cluster: bytes, address: str, failed: bool) -> None:
        """Best effort: what other workers or the host do not let through is forgotten."""
        at_ms = now_ms()
        with suppress(HostError):
            shared_data.update(
                self._key(cluster), lambda value: EndpointLoads.with_outcome(value, address, failed, at_ms)
            )

    def _key(self, cluster: bytes) -> bytes:
        return b"ailb:{%b}:endpoint_loads:%b" % (cluster, self.policy.scope)


def now_ms() -> float:
    """Milliseconds since the epoch."""
    return clock.now_ns() / 1e6
