"""The latencies of the last requests to each service, for all workers of a gateway: their means decide.

A service that was not tried for long would keep its mean for ever, and one that was never tried has none. So a service
without a sample is probed by one request, and by another one if nothing came of it within PROBE_INTERVAL_MS; and one
decision in PROBE_EVERY goes to a service whose last sample is older than that.

The value is bytes: per service four f64, which are the mean (ms, infinite without a sample), when the last sample or
probe was (ms since the epoch), how many samples were ever taken, and the sum of those in the window (ms); then per
service a ring of samples (u32, ms).
"""

from collections.abc import Sequence
from math import inf
from struct import Struct
from typing import NamedTuple

from .lowest import lowest

PROBE_INTERVAL_MS = 30_000
PROBE_EVERY = 32
MAX_SAMPLE_MS = 600_000
FAILURE_FACTOR = 2  # the reference's: a failure counts as twice the worst mean

_NUMBER = Struct("<d")
_HEAD = Struct("<4d")
_SAMPLE = Struct("<I")


class Pick(NamedTuple):
    """The service at `position`; a probe must be noted with `probed`."""

    position: int
    is_probe: bool


class LatencyWindows:
    """Reads and writes the windows of `size` services, `window` samples each. None is a value without samples."""

    def __init__(self, size: int, window: int) -> None:
        self._size = size
        self._window = window
        self._heads = Struct(f"<{4 * size}d")
        self._empty = _HEAD.pack(inf, 0, 0, 0) * size + bytes(size * window * _SAMPLE.size)

    def choose(self, value: bytes | None, among: Sequence[int] | None, now_ms: int, random_number: int) -> Pick:
        """The service with the lowest mean `among` the positions (at least one; None is all), or one to be probed."""
        numbers: tuple[float, ...] = self._heads.unpack_from(self._valid(value))
        means, touched_ms = numbers[::4], numbers[1::4]
        stale_ms = now_ms - PROBE_INTERVAL_MS
        if min(touched_ms) <= stale_ms:
            stale = [i for i in (range(self._size) if among is None else among) if touched_ms[i] <= stale_ms]
            untried = [i for i in stale if means[i] == inf]
            if untried:
                return Pick(untried[random_number % len(untried)], True)
            if stale and random_number % PROBE_EVERY == 0:
                return Pick(stale[random_number // PROBE_EVERY % len(stale)], True)
        if among is None:
            return Pick(lowest(means, random_number), False)
        return Pick(among[lowest([means[i] for i in among], random_number)], False)

    def probed(self, value: bytes | None, position: int, now_ms: int) -> bytes:
        """The value with a probe noted."""
        changed = bytearray(self._valid(value))
        _NUMBER.pack_into(changed, position * _HEAD.size + _NUMBER.size, now_ms)
        return bytes(changed)

    def record(self, value: bytes | None, position: int, latency_ms: int, now_ms: int) -> bytes:
        """The value with one more sample of the service; the oldest one leaves a full window."""
        changed = bytearray(self._valid(value))
        window = self._window
        head_at = position * _HEAD.size
        _, _, taken, total_ms = _HEAD.unpack_from(changed, head_at)
        sample_at = self._heads.size + (position * window + int(taken) % window) * _SAMPLE.size
        (oldest_ms,) = _SAMPLE.unpack_from(changed, sample_at)  # 0 where no sample is yet
        sample_ms = min(max(latency_ms, 0), MAX_SAMPLE_MS)
        taken += 1
        total_ms += sample_ms - oldest_ms
        _SAMPLE.pack_into(changed, sample_at, sample_ms)
        mean_ms = total_ms / (taken if taken < window else window)
        _HEAD.pack_into(changed, head_at, mean_ms, now_ms, taken, total_ms)
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
        return [None if mean == inf else mean for mean in self._heads.unpack_from(self._valid(value))[::4]]

    def _valid(self, value: bytes | None) -> bytes:
        return value if value is not None and len(value) == len(self._empty) else self._empty
