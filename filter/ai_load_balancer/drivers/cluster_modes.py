"""The modes of cluster_metrics over shared data: each chooses a service and keeps the statistics that it needs.

Under contention a change is given up: a sample is lost, or a count is posted with the next change. No request waits.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from random import getrandbits, randbytes
from typing import Protocol

from proxywasm import HostError, shared_data
from proxywasm.errors import CasMismatch

from ..policies.adaptive_score import AdaptiveScore, Weights, choose
from ..policies.cluster_metrics import LEAST_FIRST_TOKEN_LATENCY, Verdict, least_busy, statistics_key
from ..policies.count_board import WORKER_ID_BYTES, CountBoard
from ..policies.latency_window import LatencyWindows
from ..policies.own_in_flight import OwnInFlight


class Mode(Protocol):
    """Services are named by their position; times are in ms since the epoch."""

    needs_first_token: bool

    @property
    def is_idle(self) -> bool:
        """Nothing is in flight."""

    def choose(self, among: Sequence[int] | None, now_ms: int) -> int:
        """The service for a request that starts now; `among` leaves out others, None leaves out none."""

    def first_token(self, position: int, started_ms: int, now_ms: int) -> None:
        """The first body chunk of a success came."""

    def finished(self, position: int, verdict: Verdict, started_ms: int, now_ms: int) -> None:
        """The request ended; called exactly once for each that was chosen for."""

    def on_tick(self, now_ms: int) -> None: ...


def _value(key: bytes) -> bytes | None:
    found = shared_data.get(key)
    return found[0] if found else None


def _update(key: bytes, change: Callable[[bytes | None], bytes]) -> None:
    """The first attempt is spelt out: it nearly always succeeds."""
    try:
        found = shared_data.get(key)
        if found is not None:
            shared_data.set(key, change(found[0]), found[1])
            return
    except CasMismatch:
        pass
    with suppress(CasMismatch):
        shared_data.update(key, change)


class _InFlight:
    """What is in flight at each service: this worker's own counts, posted for all workers to see."""

    def __init__(self, services: Sequence[str]) -> None:
        self.own = OwnInFlight(len(services))
        self._board = CountBoard(len(services))
        self._key = statistics_key("in_flight", services, 0)
        self._worker = randbytes(WORKER_ID_BYTES)

    @property
    def is_idle(self) -> bool:
        return not any(self.own.counts)

    def start(self, decide: Callable[[Sequence[int]], int], now_ms: int) -> int:
        """Counts a request at the service that `decide` chooses by the counts of all workers."""
        self.own.release(now_ms)
        counts = self.own.counts
        found = shared_data.get(self._key)
        board, cas = found or (None, 0)
        position = decide(self._board.totals(board, now_ms))
        counts[position] += 1
        try:
            if found is None:
                self.post(now_ms)
            else:
                shared_data.set(self._key, self._board.post(board, self._worker, counts, now_ms), cas)
        except CasMismatch:
            self.post(now_ms)
        except HostError:
            counts[position] -= 1
            raise
        return position

    def start_at(self, position: int, now_ms: int) -> None:
        self.own.release(now_ms)
        self.own.start(position)
        self.post(now_ms)

    def totals(self, now_ms: int) -> Sequence[int]:
        return self._board.totals(_value(self._key), now_ms)

    def finish(self, position: int, now_ms: int) -> None:
        self.own.finish(position)
        self.post(now_ms)

    def post(self, now_ms: int) -> None:
        _update(self._key, lambda board: self._board.post(board, self._worker, self.own.counts, now_ms))

    def on_tick(self, now_ms: int) -> None:
        if self.own.release(now_ms) or not self.is_idle:
            self.post(now_ms)


class LeastBusyMode:
    needs_first_token = False

    def __init__(self, services: Sequence[str]) -> None:
        self._in_flight = _InFlight(services)
        self.on_tick = self._in_flight.on_tick

    @property
    def is_idle(self) -> bool:
        return self._in_flight.is_idle

    def choose(self, among: Sequence[int] | None, now_ms: int) -> int:
        number = getrandbits(31)
        return self._in_flight.start(lambda in_flight: least_busy(in_flight, among, number), now_ms)

    def first_token(self, position: int, started_ms: int, now_ms: int) -> None:
        pass

    def finished(self, position: int, verdict: Verdict, started_ms: int, now_ms: int) -> None:
        if verdict is Verdict.FAILURE:
            self._in_flight.own.fail(position, started_ms, now_ms)
            self._in_flight.post(now_ms)
        else:
            self._in_flight.finish(position, now_ms)


class LatencyMode:
    """LeastTotalLatency and LeastFirstTokenLatency. A failure counts in both, by the time that it took."""

    is_idle = True

    def __init__(self, services: Sequence[str], name: str, window: int) -> None:
        self.needs_first_token = name == LEAST_FIRST_TOKEN_LATENCY
        self._windows = LatencyWindows(len(services), window)
        self._key = statistics_key(name, services, window)

    def choose(self, among: Sequence[int] | None, now_ms: int) -> int:
        pick = self._windows.choose(_value(self._key), among, now_ms, getrandbits(31))
        if pick.is_probe:
            _update(self._key, lambda value: self._windows.probed(value, pick.position, now_ms))
        return pick.position

    def first_token(self, position: int, started_ms: int, now_ms: int) -> None:
        self._record(self._windows.record, position, started_ms, now_ms)

    def finished(self, position: int, verdict: Verdict, started_ms: int, now_ms: int) -> None:
        if verdict is Verdict.FAILURE:
            self._record(self._windows.record_failure, position, started_ms, now_ms)
        elif verdict is Verdict.ABORTED:
            self._record(self._windows.record_abort, position, started_ms, now_ms)
        elif not self.needs_first_token:
            self._record(self._windows.record, position, started_ms, now_ms)

    def on_tick(self, now_ms: int) -> None:
        pass

    def _record(
        self, record: Callable[[bytes | None, int, int, int], bytes], position: int, started_ms: int, now_ms: int
    ) -> None:
        _update(self._key, lambda value: record(value, position, now_ms - started_ms, now_ms))


class AdaptiveScoreMode:
    """AdaptiveScore by the in-flight counts of this gateway; with those of all gateways, see redis_adaptive_score."""

    needs_first_token = True

    def __init__(self, services: Sequence[str], weights: Weights) -> None:
        self._all = range(len(services))
        self._in_flight = _InFlight(services)
        self._policy = AdaptiveScore(len(services), weights)
        self._key = statistics_key("AdaptiveScore", services, 0)
        self.on_tick = self._in_flight.on_tick
        self.start_at = self._in_flight.start_at

    @property
    def is_idle(self) -> bool:
        return self._in_flight.is_idle

    def choose(self, among: Sequence[int] | None, now_ms: int) -> int:
        policy = self._policy
        value = _value(self._key)
        candidates = policy.candidates(value, self._all if among is None else among, now_ms, getrandbits)
        number = getrandbits(31)
        return self._in_flight.start(
            lambda in_flight: choose(policy.scores(value, in_flight, candidates, now_ms), candidates, number), now_ms
        )

    def scored(self, among: Sequence[int] | None, now_ms: int) -> tuple[Sequence[int], list[float]]:
        """Candidates and their scores. Whoever chooses one of them must call `start_at(position, now_ms)`."""
        value = _value(self._key)
        candidates = self._policy.candidates(value, self._all if among is None else among, now_ms, getrandbits)
        return candidates, self._policy.scores(value, self._in_flight.totals(now_ms), candidates, now_ms)

    def first_token(self, position: int, started_ms: int, now_ms: int) -> None:
        _update(self._key, lambda value: self._policy.first_token(value, position, now_ms - started_ms))

    def finished(self, position: int, verdict: Verdict, started_ms: int, now_ms: int) -> None:
        self._in_flight.finish(position, now_ms)
        if verdict is not Verdict.ABORTED:
            total_ms = now_ms - started_ms
            _update(self._key, lambda value: self._policy.finished(value, position, verdict, total_ms, now_ms))
