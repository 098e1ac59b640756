"""LeastTotalLatency and LeastFirstTokenLatency over shared data.

Under contention a sample is lost, and no request waits.
"""

from collections.abc import Callable, Sequence
from random import getrandbits
from typing import TypeAlias

from ..policies.cluster_metrics import LEAST_FIRST_TOKEN_LATENCY, Verdict
from ..policies.latency_window import LatencyWindows
from ..policies.value import Value
from .cluster_mode import RANDOM_BITS, key_of, picks_of
from .shared_value import ATTEMPTS, SharedValue

Recorder: TypeAlias = Callable[[Value, int, float, float], Value]
"""(value, position, latency_ms, now_ms) -> the value after it."""

_FAILURE, _ABORTED = Verdict.FAILURE, Verdict.ABORTED


class LatencyMode:
    """LeastTotalLatency and LeastFirstTokenLatency. A failure counts in both, by the time that it took."""

    is_idle = True

    def __init__(self, name: str, services: Sequence[str], rate_limit: float, queue_size: int) -> None:
        self.name = name
        self.wants_first_token = name == LEAST_FIRST_TOKEN_LATENCY
        self._picks = picks_of(services, rate_limit, queue_size)
        picks = self._picks.empty if self._picks is not None else b""
        self._windows = LatencyWindows(len(services), queue_size, len(picks))
        self._shared = SharedValue(key_of(name, services, rate_limit, queue_size), picks + self._windows.empty)

    def start(self, now_ms: float) -> int:
        for _ in ATTEMPTS:
            value: Value = self._shared.read()
            position, is_probe = self._windows.choose(value, None, now_ms, getrandbits(RANDOM_BITS))
            if self._picks is not None and self._picks.is_at_limit(value, position):
                below = self._picks.below_limit(value)
                position, is_probe = self._windows.choose(value, below, now_ms, getrandbits(RANDOM_BITS))
            if is_probe:
                value = self._windows.probed(value, position, now_ms)
            elif self._picks is None:
                break
            if self._picks is not None:
                value = self._picks.with_pick(value, position)
            if self._shared.write(value):
                break
        return position

    def first_token(self, position: int, ttft_ms: float, now_ms: float) -> None:
        self._record(self._windows.record, position, ttft_ms, now_ms)

    def finish(
        self, position: int, verdict: Verdict, started_ms: float, first_token_ms: float | None, now_ms: float
    ) -> None:
        if verdict is _FAILURE:
            self._record(self._windows.record_failure, position, now_ms - started_ms, now_ms)
        elif verdict is _ABORTED:
            self._record(self._windows.record_abort, position, now_ms - started_ms, now_ms)
        elif not self.wants_first_token:
            self._record(self._windows.record, position, now_ms - started_ms, now_ms)

    def candidates(self, position: int, now_ms: float) -> dict[int, dict[str, float]]:
        means = self._windows.means(self._shared.read())
        return {i: {} if mean is None else {"mean_ms": round(mean, 1)} for i, mean in enumerate(means)}

    def on_tick(self, now_ms: float) -> None:
        pass

    def _record(self, record: Recorder, position: int, latency_ms: float, now_ms: float) -> None:
        for _ in ATTEMPTS:
            if self._shared.write(record(self._shared.read(), position, latency_ms, now_ms)):
                return
