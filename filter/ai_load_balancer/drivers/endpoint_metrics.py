"""endpoint_metrics at work: decided from what is known of the engines, without a callout of the request's own.

Where the request's model makes no difference, the headers decide and no body is read. Whatever goes wrong, the request
continues, on the proxy's own balancing.
"""

import logging
from contextlib import suppress
from random import getrandbits
from typing import TYPE_CHECKING, Protocol

from proxywasm import HostError, clock, shared_data
from proxywasm.errors import CasMismatch

from ..due import is_due
from ..explanation import Explainer, Explanation
from ..log_prefix import log_prefix
from ..policies.endpoint_loads import EndpointLoads
from ..policies.endpoint_metrics import Choice, EndpointMetrics, View
from ..policies.request_model import model_of
from ..readable_body import has_readable_body
from ..response_failure import has_failed
from ..telemetry import METRICS, PROXY, ROUTED, Telemetry
from ..upstream import Upstream
from .body_request import MAX_BODY_WAIT_MS, BodyRequest, BodyWait
from .driver import bound

if TYPE_CHECKING:
    from ..plugin import AiLoadBalancer

RANDOM_BITS = 31

_TELEMETRY = Telemetry("endpoint_metrics")
_ROUTED = _TELEMETRY.decisions(METRICS, ROUTED)

_logger = logging.getLogger(__name__)


class Views(Protocol):
    """Where the metrics come from."""

    tick_period_ms: int
    """How often `on_tick` is wanted."""

    def view(self, cluster: bytes, now_ms: float) -> View:
        """The endpoints of the current request's cluster. Raises HostError, or ValueError if they cannot be read."""

    def on_tick(self, now_ms: int) -> None: ...


class EndpointMetricsRequest(BodyRequest):
    """One request. Of its response, the status alone is looked at."""

    root: "AiLoadBalancer"
    driver: "EndpointMetricsDriver"
    _cluster = b""
    _view: View
    _choice: Choice | None = None

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        driver = self.driver
        cluster = driver.upstream.cluster()
        if cluster is None:
            self._give_up("no_cluster", "the request has no cluster name")
            return None
        try:
            self._cluster = cluster
            self._view = view = driver.views.view(cluster, now_ms())
            if not end_of_stream and driver.policy.needs_model(view) and has_readable_body(self):
                return self.await_body()
        except (HostError, ValueError) as error:
            self._give_up("host_error", error)
            return None
        if not end_of_stream:
            self.want_no_more("on_request_body", "on_request_trailers")
        self._route(has_body=False)
        return None

    def is_held_with(self, has_body: bool) -> bool:
        self._route(has_body)
        return False

    def on_response_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        choice = self._choice
        if choice is not None:
            failed = has_failed(self)
            if failed or choice.has_failed:
                self.driver.note_outcome(self._cluster, self._view.addresses[choice.position], failed)
        return None

    def on_done(self) -> bool | None:
        if self._choice is not None:
            self._choice = None
            _TELEMETRY.in_flight.add(-1)
        return super().on_done()

    def _route(self, has_body: bool) -> None:
        driver, view = self.driver, self._view
        try:
            model = model_of(self.request_body.get() or b"") if has_body else None
            choice = driver.choose(self._cluster, view, model)
        except HostError as error:
            self._give_up("host_error", error)
            return
        except Exception:
            driver.upstream.send_anywhere(self)
            raise
        if choice is None:
            self._give_up("no_metrics", "no healthy endpoint has metrics that can be read")
            return
        try:
            driver.upstream.send_to(self, view.addresses[choice.position])
        except HostError as error:
            self._give_up("override_refused", error)
            return
        self._choice = choice
        _ROUTED.increment(1)
        _TELEMETRY.in_flight.add(1)
        if driver.explainer is not None:
            self._explain(driver.explainer, choice, model)

    def _give_up(self, outcome: str, reason: object) -> None:
        driver = self.driver
        driver.upstream.send_anywhere(self)
        _TELEMETRY.decided(PROXY, outcome)
        if driver.explainer is not None:
            driver.explainer.explain(self, Explanation(PROXY, outcome, "", {}, {}))
        _logger.warning("%s%s; the proxy's own balancing chooses", log_prefix(self), reason)

    def _explain(self, explainer: Explainer, choice: Choice, model: str | None) -> None:
        view, position = self._view, choice.position
        terms = {"age_ms": round(now_ms() - view.scrapes.scraped_at_ms[position]), "limited": int(choice.limited)}
        candidates = self.driver.policy.terms(view, choice, model)
        explainer.explain(self, Explanation(METRICS, ROUTED, view.addresses[position], terms, candidates))


class EndpointMetricsDriver:
    """One configuration. The loads are shared by all workers and routes of a cluster."""

    def __init__(self, policy: EndpointMetrics, upstream: Upstream, views: Views, explainer: Explainer | None) -> None:
        self.policy = policy
        self.upstream = upstream
        self.views = views
        self.explainer = explainer
        self.telemetry = _TELEMETRY
        self.bodies = BodyWait()
        self.tick_period_ms = min(upstream.tick_period_ms, views.tick_period_ms, MAX_BODY_WAIT_MS)
        self._ticked_ms = 0
        self.context_class = bound(EndpointMetricsRequest, self, explainer)

    @property
    def is_idle(self) -> bool:
        return self.bodies.is_idle

    def on_tick(self) -> None:
        at_ms = clock.now_ns() // 1_000_000
        if is_due(at_ms, self._ticked_ms, self.tick_period_ms):
            self._ticked_ms = at_ms
            self.upstream.on_tick(at_ms)
            self.views.on_tick(at_ms)
        self.bodies.on_tick()

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
            _TELEMETRY.fell_back(METRICS, "shared_data_contended")
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
