"""The latencies of the last requests to each service, for all workers of a gateway: their means decide.

A service that was not tried for long would keep its mean for ever, and one that was never tried has none. So a service
without a sample is probed by one request, and by another one if nothing came of it within PROBE_INTERVAL_MS; and one
decision in PROBE_EVERY goes to a service whose last sample is older than that.

The value is bytes: per service the number of samples ever taken, the sum of those in the window (ms), and when the last
sample or probe was (ms since the epoch), column by column as u64; then a ring of u32 samples (ms) per service.
"""

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from .lowest import lowest

PROBE_INTERVAL_MS = 30_000
PROBE_EVERY = 32
MAX_SAMPLE_MS = 600_000
FAILURE_FACTOR = 2  # the reference's: a failure counts as twice the worst mean

_SAMPLE = Struct("<I")
_NUMBER = Struct("<Q")


class Pick(NamedTuple):
    """The service at `position`; a probe must be noted with `probed`."""

    position: int
    is_probe: bool


class LatencyWindows:
    """Reads and writes the windows of `size` services, `window` samples each. None is a value without samples."""

    def __init__(self, size: int, window: int) -> None:
        self._size = size
        self._window = window
        self._heads = Struct(f"<{3 * size}Q")
        self._empty = bytes(self._heads.size + size * window * _SAMPLE.size)

    def choose(self, value: bytes | None, among: Sequence[int], now_ms: int, random_number: int) -> Pick:
        """The service with the lowest mean `among` the positions (at least one), or one to be probed."""
        taken, sums, touched_ms = self._columns(value)
        stale_ms = now_ms - PROBE_INTERVAL_MS
        if min(touched_ms) <= stale_ms:
            stale = [i for i in among if touched_ms[i] <= stale_ms]
            untried = [i for i in stale if not taken[i]]
            if untried:
                return Pick(untried[random_number % len(untried)], True)
            if stale and len(among) > 1 and random_number % PROBE_EVERY == 0:
                return Pick(stale[random_number // PROBE_EVERY % len(stale)], True)
        known = [i for i in among if taken[i]]
        if not known:
            return Pick(among[random_number % len(among)], False)
        window = self._window
        return Pick(known[lowest([sums[i] / min(taken[i], window) for i in known], random_number)], False)

    def probed(self, value: bytes | None, position: int, now_ms: int) -> bytes:
        """The value with a probe noted."""
        changed = bytearray(self._valid(value))
        _NUMBER.pack_into(changed, (2 * self._size + position) * _NUMBER.size, now_ms)
        return bytes(changed)

    def record(self, value: bytes | None, position: int, latency_ms: int, now_ms: int) -> bytes:
        """The value with one more sample of the service; the oldest one leaves a full window."""
        changed = bytearray(self._valid(value))
        size, window = self._size, self._window
        taken_at = position * _NUMBER.size
        sum_at = taken_at + size * _NUMBER.size
        touched_at = sum_at + size * _NUMBER.size
        (taken,) = _NUMBER.unpack_from(changed, taken_at)
        (total_ms,) = _NUMBER.unpack_from(changed, sum_at)
        sample_at = self._heads.size + (position * window + taken % window) * _SAMPLE.size
        (oldest_ms,) = _SAMPLE.unpack_from(changed, sample_at)  # 0 where no sample is yet
        sample_ms = min(max(latency_ms, 0), MAX_SAMPLE_MS)
        _NUMBER.pack_into(changed, taken_at, taken + 1)
        _NUMBER.pack_into(changed, sum_at, total_ms + sample_ms - oldest_ms)
        _NUMBER.pack_into(changed, touched_at, now_ms)
        _SAMPLE.pack_into(changed, sample_at, sample_ms)
        return bytes(changed)

    def record_failure(self, value: bytes | None, position: int, latency_ms: int, now_ms: int) -> bytes:
        """The value with a sample that is bad however fast the service failed."""
        worst_ms = max((mean for mean in self.means(value) if mean is not None), default=0.0)
        return self.record(value, position, int(max(latency_ms, worst_ms) * FAILURE_FACTOR), now_ms)

    def record_abort(self, value: bytes | None, position: int, latency_ms: int, now_ms: int) -> bytes:
        """The value after a request that ended unanswered, and by no failure of the service.

        The answer would have taken longer than `latency_ms`: this is a sample if it is above the mean. Else, or without
        a mean, it tells nothing.
        """
        mean_ms = self.means(value)[position]
        if mean_ms is None or latency_ms <= mean_ms:
            return self._valid(value)
        return self.record(value, position, latency_ms, now_ms)

    def means(self, value: bytes | None) -> list[float | None]:
        """The mean latency of each service in ms, None without samples."""
        taken, sums, _ = self._columns(value)
        return [total / min(n, self._window) if n else None for n, total in zip(taken, sums, strict=True)]

    def _columns(self, value: bytes | None) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        numbers: tuple[int, ...] = self._heads.unpack_from(self._valid(value))
        size = self._size
        return numbers[:size], numbers[size : 2 * size], numbers[2 * size :]

    def _valid(self, value: bytes | None) -> bytes:
        return value if value is not None and len(value) == len(self._empty) else self._empty
