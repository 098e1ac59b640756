"""cluster_metrics at work: choose a service in the headers callback, name it in a header, learn from how it went."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from proxywasm import HostError, HttpContext, clock

from ..explanation import Explainer, Explanation
from ..log_prefix import log_prefix
from ..policies.cluster_metrics import Verdict, verdict
from ..telemetry import LOCAL, PROXY, ROUTED, Telemetry
from .cluster_mode import Mode
from .driver import SLOW_TICK_PERIOD_MS, bound
from .target_cluster import TargetCluster

if TYPE_CHECKING:
    from ..plugin import AiLoadBalancer

NS_PER_MS = 1e6

TELEMETRY = Telemetry("cluster_metrics")

_now_ns = clock.now_ns
_routed_locally = TELEMETRY.decisions(LOCAL, ROUTED)
_in_flight = TELEMETRY.in_flight
_logger = logging.getLogger(__name__)

# A member's lookup in its class costs several times that of a global name.
_SUCCESS, _ABORTED = Verdict.SUCCESS, Verdict.ABORTED


class ClusterMetricsRequest(HttpContext):
    """One request. It counts at its service until the stream is done, however it ends."""

    root: "AiLoadBalancer"
    driver: "ClusterMetricsDriver"
    _position: int | None = None
    _started_ms = 0.0
    _first_token_ms: float | None = None
    _verdict = _ABORTED  # until a response comes

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        driver = self.driver
        self._started_ms = now_ms = _now_ns() / NS_PER_MS
        try:
            self._position = position = driver.mode.start(now_ms)
            _in_flight.add(1)
            driver.target.send(driver.services[position])
            _routed_locally.increment(1)
        except HostError as error:
            self._give_up(error)
            return None
        if driver.explainer is not None:
            self._explain(driver.explainer, LOCAL, position)
        return None

    def on_response_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        status = self.response_headers.get(":status")
        self._verdict = _SUCCESS if status == "200" else verdict(status)
        return None

    def on_done(self) -> bool | None:
        position = self._position
        if position is not None:
            self._finish(position, self._verdict)
        return None

    def _finish(self, position: int, verdict: Verdict) -> None:
        self._position = None
        try:
            _in_flight.add(-1)
            now_ms = _now_ns() / NS_PER_MS
            if now_ms < self._started_ms:  # the clock was set back
                now_ms = self._started_ms
            self.driver.mode.finish(position, verdict, self._started_ms, self._first_token_ms, now_ms)
        except HostError as error:
            _logger.warning("%s%s; the statistics do not know how this request ended", log_prefix(self), error)

    def _give_up(self, reason: object) -> None:
        """The request continues uncounted."""
        TELEMETRY.decided(PROXY, "host_error")
        _logger.warning("%s%s; the request continues on its own route", log_prefix(self), reason)
        if self._position is not None:
            self._finish(self._position, _ABORTED)
        explainer = self.driver.explainer
        if explainer is not None:
            explainer.explain(self, Explanation(PROXY, "host_error", "", {"mode": self.driver.mode.name}, {}))

    def _explain(self, explainer: Explainer, rung: str, position: int) -> None:
        mode, names = self.driver.mode.name, self.driver.services
        with suppress(HostError):  # shared data cannot be read again: the request is on its way all the same
            candidates = {names[i]: terms for i, terms in self._compared(position).items()}
            explainer.explain(self, Explanation(rung, ROUTED, names[position], {"mode": mode}, candidates))

    def _compared(self, position: int) -> dict[int, dict[str, float]]:
        """For each service that was compared the terms of its metric."""
        return self.driver.mode.candidates(position, self._started_ms)


class FirstTokenRequest(ClusterMetricsRequest):
    """One request of a mode that needs the time to the first token."""

    def on_response_body(self, body_size: int, end_of_stream: bool) -> int | None:
        if body_size or end_of_stream:
            self.want_no_more("on_response_body")
            self._first_token_ms = now_ms = _now_ns() / NS_PER_MS
            record = self.driver.mode.first_token
            if record is not None and self._position is not None and self._verdict is _SUCCESS:
                record(self._position, now_ms - self._started_ms, now_ms)
        return None


class ClusterMetricsDriver:
    """Requests of one configuration, balanced by `mode` among `services` and sent off by `target`."""

    tick_period_ms = SLOW_TICK_PERIOD_MS

    def __init__(
        self, services: Sequence[str], mode: Mode, target: TargetCluster, explainer: Explainer | None = None
    ) -> None:
        self.services = tuple(services)
        self.mode = mode
        self.target = target
        self.explainer = explainer
        self.context_class = bound(
            FirstTokenRequest if mode.wants_first_token else ClusterMetricsRequest, self, explainer
        )

    @property
    def is_idle(self) -> bool:
        return self.mode.is_idle

    def on_tick(self) -> None:
        self.mode.on_tick(_now_ns() / NS_PER_MS)
