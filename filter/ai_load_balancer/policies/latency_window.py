"""The latencies of the last requests to each service, for all workers of a gateway: their means decide.

A service that was not tried for long would keep its mean for ever, and one that was never tried has none. So a service
without a sample is probed by one request, and by another one if nothing came of it within PROBE_INTERVAL_MS; and one
decision in PROBE_EVERY goes to a service whose last sample is older than that.

The windows are a part of a value in shared data, where one after the other are, for each service: its mean (f64, ms,
infinite without a sample); when its last sample or probe was (f64, ms since the epoch); how many samples were ever
taken and the sum of those in the window (u64, ms); a ring of samples (u32, ms).
"""

from collections.abc import Sequence
from math import inf
from struct import Struct

from .lowest import lowest
from .value import Value

PROBE_INTERVAL_MS = 30_000
PROBE_EVERY = 32
MAX_SAMPLE_MS = 600_000
FAILURE_FACTOR = 2  # the reference's: a failure counts as twice the worst mean

_NUMBER = Struct("<d")
_RING = Struct("<2Q")
_SAMPLE = Struct("<I")
_NUMBER_BYTES, _RING_BYTES, _SAMPLE_BYTES = _NUMBER.size, _RING.size, _SAMPLE.size


class LatencyWindows:
    """Reads and writes the windows of `size` services, `window` samples each, which begin at `offset` in a value."""

    def __init__(self, size: int, window: int, offset: int = 0) -> None:
        self._positions = range(size)
        self._window = window
        self._numbers = Struct(f"<{size}d")
        self._means_at = offset
        self._touched_at = self._means_at + self._numbers.size
        self._rings_at = self._touched_at + self._numbers.size
        self._samples_at = self._rings_at + size * _RING_BYTES
        numbers = self._numbers.pack(*[inf] * size) + bytes(self._numbers.size)
        self.empty: Value = numbers + bytes(size * (_RING_BYTES + window * _SAMPLE_BYTES))

    def choose(self, value: Value, among: Sequence[int] | None, now_ms: float, random_number: int) -> tuple[int, bool]:
        """The service with the lowest mean `among` the positions (at least one; None is all), or one to be probed.

        Returns its position, and whether it is a probe, which must be noted by `probed`.
        """
        means = self._numbers.unpack_from(value, self._means_at)
        touched_ms = self._numbers.unpack_from(value, self._touched_at)
        stale_ms = now_ms - PROBE_INTERVAL_MS
        if min(touched_ms) <= stale_ms:
            stale = [i for i in (self._positions if among is None else among) if touched_ms[i] <= stale_ms]
            untried = [i for i in stale if means[i] == inf]
            if untried:
                return untried[random_number % len(untried)], True
            if stale and random_number % PROBE_EVERY == 0:
                return stale[random_number // PROBE_EVERY % len(stale)], True
        if among is None:
            return lowest(means, random_number), False
        return among[lowest([means[i] for i in among], random_number)], False

    def probed(self, value: Value, position: int, now_ms: float) -> Value:
        """The value with a probe noted."""
        changed = bytearray(value)
        _NUMBER.pack_into(changed, self._touched_at + position * _NUMBER_BYTES, now_ms)
        return changed

    def record(self, value: Value, position: int, latency_ms: float, now_ms: float) -> Value:
        """The value with one more sample of the service; the oldest one leaves a full window."""
        window = self._window
        ring_at = self._rings_at + position * _RING_BYTES
        taken, total_ms = _RING.unpack_from(value, ring_at)
        sample_at = self._samples_at + (position * window + taken % window) * _SAMPLE_BYTES
        sample_ms = int(latency_ms)
        if not 0 <= sample_ms <= MAX_SAMPLE_MS:
            sample_ms = MAX_SAMPLE_MS if sample_ms > 0 else 0
        taken += 1
        total_ms += sample_ms - _SAMPLE.unpack_from(value, sample_at)[0]  # 0 where no sample is yet
        changed = bytearray(value)
        mean_ms = total_ms / (taken if taken < window else window)
        _NUMBER.pack_into(changed, self._means_at + position * _NUMBER_BYTES, mean_ms)
        _NUMBER.pack_into(changed, self._touched_at + position * _NUMBER_BYTES, now_ms)
        _RING.pack_into(changed, ring_at, taken, total_ms)
        _SAMPLE.pack_into(changed, sample_at, sample_ms)
        return changed

    def record_failure(self, value: Value, position: int, latency_ms: float, now_ms: float) -> Value:
        """The value with a sample that is bad however fast the service failed."""
        worst_ms = max((mean for mean in self.means(value) if mean is not None), default=0.0)
        return self.record(value, position, max(latency_ms, worst_ms) * FAILURE_FACTOR, now_ms)

    def record_abort(self, value: Value, position: int, latency_ms: float, now_ms: float) -> Value:
        """The value after a request that ended unanswered, and by no failure of the service.

        The answer would have taken longer than `latency_ms`: this is a sample if it is above the mean. Else, or without
        a mean, it tells nothing.
        """
        mean_ms = self.means(value)[position]
        if mean_ms is None or latency_ms <= mean_ms:
            return value
        return self.record(value, position, latency_ms, now_ms)

    def means(self, value: Value) -> list[float | None]:
        """The mean latency of each service in ms, None without samples."""
        return [None if mean == inf else mean for mean in self._numbers.unpack_from(value, self._means_at)]
