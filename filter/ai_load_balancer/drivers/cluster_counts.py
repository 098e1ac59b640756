"""LeastBusy and AdaptiveScore over shared data: the modes that know what is in flight.

Under contention a count is posted with the next change, statistics are lost, and no request waits.
"""

from collections.abc import Sequence
from random import getrandbits, randbytes

from ..policies.adaptive_score import AdaptiveScore, Weights
from ..policies.cluster_metrics import ADAPTIVE_SCORE, LEAST_BUSY, Verdict, least_busy
from ..policies.count_board import WORKER_ID_BYTES, CountBoard
from ..policies.lowest import lowest
from ..policies.own_in_flight import OwnInFlight
from ..policies.value import Value
from .cluster_mode import RANDOM_BITS, FirstToken, key_of, picks_of
from .shared_value import ATTEMPTS, SharedValue

_FAILURE = Verdict.FAILURE


class CountingMode:
    """A worker knows its own counts, and posts them for all workers to see.

    `statistics` are what the mode keeps beside them in the shared value, as they are at first, and `settings` is what
    their meaning depends on.
    """

    wants_first_token = False
    first_token: FirstToken | None = None

    def __init__(
        self,
        name: str,
        services: Sequence[str],
        rate_limit: float,
        queue_size: int,
        statistics: Value = b"",
        settings: str = "",
    ) -> None:
        self.name = name
        self._picks = picks_of(services, rate_limit, queue_size)
        fixed = (self._picks.empty if self._picks is not None else b"") + statistics
        self._board = CountBoard(len(services), offset=len(fixed))
        self._shared = SharedValue(
            key_of(name + settings, services, rate_limit, queue_size), fixed, self._board.section_bytes
        )
        self._worker = randbytes(WORKER_ID_BYTES)
        self._own = OwnInFlight(len(services))

    @property
    def is_idle(self) -> bool:
        return not any(self._own.counts)

    def start(self, now_ms: float) -> int:
        own = self._own
        if own.held:
            own.release(now_ms)
        for _ in ATTEMPTS:
            value = self._shared.read()
            in_flight = self._board.totals(value, now_ms)
            position = self._choose(value, in_flight, None, now_ms)
            if self._picks is not None and self._picks.is_at_limit(value, position):
                position = self._choose(value, in_flight, self._picks.below_limit(value), now_ms)
            if self._count(value, position, now_ms):
                return position
        own.start(position)
        return position

    def on_tick(self, now_ms: float) -> None:
        if self._own.release(now_ms) or not self.is_idle:
            self._post(now_ms)

    def _choose(self, value: bytes, in_flight: Sequence[int], among: Sequence[int] | None, now_ms: float) -> int:
        raise NotImplementedError

    def _count(self, value: bytes, position: int, now_ms: float) -> bool:
        """Counts a request; False, and nothing happened, if another worker has changed the value meanwhile."""
        counts = self._own.counts.copy()
        counts[position] += 1
        posted = self._board.post(value, self._worker, counts, now_ms)
        if not self._shared.write(posted if self._picks is None else self._picks.with_pick(posted, position)):
            return False
        self._own.counts = counts
        return True

    def _post(self, now_ms: float) -> None:
        for _ in ATTEMPTS:
            value = self._shared.read()
            if self._shared.write(self._board.post(value, self._worker, self._own.counts, now_ms)):
                return

    def _totals_without(self, value: bytes, position: int, now_ms: float) -> list[int]:
        """What was in flight before a request was counted at `position`."""
        totals = [*self._board.totals(value, now_ms)]
        totals[position] = max(0, totals[position] - 1)
        return totals


class LeastBusyMode(CountingMode):
    def __init__(self, services: Sequence[str], rate_limit: float, queue_size: int) -> None:
        super().__init__(LEAST_BUSY, services, rate_limit, queue_size)

    def finish(
        self, position: int, verdict: Verdict, started_ms: float, first_token_ms: float | None, now_ms: float
    ) -> None:
        if verdict is _FAILURE:
            self._own.fail(position, started_ms, now_ms)
        else:
            self._own.finish(position)
        self._post(now_ms)

    def candidates(self, position: int, now_ms: float) -> dict[int, dict[str, float]]:
        totals = self._totals_without(self._shared.read(), position, now_ms)
        return {i: {"in_flight": total} for i, total in enumerate(totals)}

    def _choose(self, value: bytes, in_flight: Sequence[int], among: Sequence[int] | None, now_ms: float) -> int:
        number = getrandbits(RANDOM_BITS)
        return lowest(in_flight, number) if among is None else least_busy(in_flight, among, number)


class AdaptiveScoreMode(CountingMode):
    """AdaptiveScore by the in-flight counts of this gateway; with those of all gateways, see redis_adaptive_score."""

    wants_first_token = True

    def __init__(self, services: Sequence[str], rate_limit: float, queue_size: int, weights: Weights) -> None:
        statistics = AdaptiveScore(len(services), weights).empty
        settings = f"|{weights.ttft_weight}|{weights.total_latency_weight}"
        super().__init__(ADAPTIVE_SCORE, services, rate_limit, queue_size, statistics, settings)
        offset = len(self._picks.empty) if self._picks is not None else 0
        self._policy = AdaptiveScore(len(services), weights, offset)
        self._compared: Sequence[int] = ()  # at the last start

    def finish(
        self, position: int, verdict: Verdict, started_ms: float, first_token_ms: float | None, now_ms: float
    ) -> None:
        self._own.finish(position)
        ttft_ms = None if first_token_ms is None else first_token_ms - started_ms
        for _ in ATTEMPTS:
            value = self._shared.read()
            posted = self._board.post(value, self._worker, self._own.counts, now_ms)
            if self._shared.write(
                self._policy.finished(posted, position, verdict, ttft_ms, now_ms - started_ms, now_ms)
            ):
                return

    def scored(self, now_ms: float) -> tuple[Sequence[int], list[float]]:
        """Candidates and their scores. Whoever chooses one of them must call `start_at`. Raises HostError."""
        value = self._shared.read()
        in_flight = self._board.totals(value, now_ms)
        among = self._picks.below_limit(value) if self._picks is not None else None
        candidates = self._policy.candidates(value, among, now_ms, getrandbits)
        return candidates, self._policy.scores(value, in_flight, candidates, now_ms)

    def start_at(self, position: int, now_ms: float) -> None:
        """Counts a request that was chosen for by others. Raises HostError; then nothing was started."""
        for _ in ATTEMPTS:
            value = self._shared.read()
            if self._count(value, position, now_ms):
                return
        self._own.start(position)

    def candidates(self, position: int, now_ms: float) -> dict[int, dict[str, float]]:
        value = self._shared.read()
        in_flight = self._totals_without(value, position, now_ms)
        compared = self._compared
        return {
            i: {
                "score": round(score, 3),
                "in_flight": in_flight[i],
                "error_rate": round(self._policy.error_rate(self._policy.service(value, i), now_ms), 3),
            }
            for i, score in zip(compared, self._policy.scores(value, in_flight, compared, now_ms), strict=True)
        }

    def _choose(self, value: bytes, in_flight: Sequence[int], among: Sequence[int] | None, now_ms: float) -> int:
        self._compared = candidates = self._policy.candidates(value, among, now_ms, getrandbits)
        scores = self._policy.scores(value, in_flight, candidates, now_ms)
        return candidates[lowest(scores, getrandbits(RANDOM_BITS))]
