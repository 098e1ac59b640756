"""cluster_metrics at work: choose a service in the headers callback, name it in a header, learn from how it went."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from proxywasm import Counter, HostError, HttpContext, clock, shared_data
from proxywasm.errors import CasMismatch

from ..log_prefix import log_prefix
from ..policies.cluster_metrics import Verdict, statistics_key, verdict
from ..policies.recent_picks import below_limit, with_pick
from .cluster_modes import Mode
from .driver import SLOW_TICK_PERIOD_MS, bound
from .target_cluster import send_to_cluster

if TYPE_CHECKING:
    from ..plugin import AiLoadBalancer

_ROUTED = Counter("ailb_decisions_total.policy.cluster_metrics.rung.local.outcome.routed")
_HOST_ERROR = Counter("ailb_decisions_total.policy.cluster_metrics.rung.proxy.outcome.host_error")

_now_ns = clock.now_ns
_logger = logging.getLogger(__name__)


class ClusterMetricsRequest(HttpContext):
    """One request. It counts at its service until the stream is done, however it ends."""

    root: "AiLoadBalancer"
    driver: "ClusterMetricsDriver"
    _position: int | None = None
    _started_ms = 0
    _status: str | None = None

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        driver = self.driver
        self._started_ms = now_ms = _now_ns() // 1_000_000
        try:
            self._position = position = driver.choose(now_ms)
            send_to_cluster(self, driver.cluster_header, driver.services[position], driver.reroute)
            _ROUTED.increment(1)
        except HostError as error:
            self._finish(None)
            _HOST_ERROR.increment(1)
            _logger.warning("%s%s; the request continues on its own route", log_prefix(self), error)
        return None

    def on_response_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        self._status = self.response_headers.get(":status")
        return None

    def on_done(self) -> bool | None:
        self._finish(self._status)
        return None

    def _finish(self, status: str | None) -> None:
        position = self._position
        if position is not None:
            self._position = None
            self.driver.mode.finished(position, verdict(status), self._started_ms, _now_ns() // 1_000_000)


class FirstTokenRequest(ClusterMetricsRequest):
    """One request of a mode that needs the time to the first token."""

    def on_response_body(self, body_size: int, end_of_stream: bool) -> int | None:
        if body_size or end_of_stream:
            self.want_no_more("on_response_body")
            if self._position is not None and verdict(self._status) is Verdict.SUCCESS:
                self.driver.mode.first_token(self._position, self._started_ms, _now_ns() // 1_000_000)
        return None


class ClusterMetricsDriver:
    """`rate_limit` is of 0..1, `queue_size` a number of requests; `reroute`: Higress may match the routes again."""

    tick_period_ms = SLOW_TICK_PERIOD_MS

    def __init__(
        self,
        services: Sequence[str],
        mode: Mode,
        rate_limit: float,
        queue_size: int,
        cluster_header: str,
        reroute: bool,
    ) -> None:
        self.services = tuple(services)
        self.mode = mode
        self.cluster_header = cluster_header
        self.reroute = reroute
        self._rate_limit = rate_limit
        self._queue_size = queue_size
        self._picks_key = statistics_key("picks", services, queue_size)
        self.context_class = bound(FirstTokenRequest if mode.needs_first_token else ClusterMetricsRequest, self)

    @property
    def is_idle(self) -> bool:
        return self.mode.is_idle

    def choose(self, now_ms: int) -> int:
        """The position of the service for a request that starts now."""
        if self._rate_limit >= 1:
            return self.mode.choose(None, now_ms)
        position = self.mode.choose(self.among(), now_ms)
        self.note_pick(position)
        return position

    def among(self) -> Sequence[int] | None:
        """The services below the rate limit; None for all."""
        if self._rate_limit >= 1:
            return None
        found = shared_data.get(self._picks_key)
        return below_limit(found[0] if found else b"", len(self.services), self._rate_limit)

    def note_pick(self, position: int) -> None:
        if self._rate_limit < 1:
            with suppress(CasMismatch):
                shared_data.update(self._picks_key, lambda picks: with_pick(picks or b"", position, self._queue_size))

    def on_tick(self) -> None:
        self.mode.on_tick(_now_ns() // 1_000_000)
