"""AdaptiveScore: few requests in flight, low latencies and few failures, in one number; the lowest of some wins.

score = (ttft_weight * sqrt(ttft + 1) + total_latency_weight * sqrt(total + 1))
        * (in_flight + 1 [+ consecutive_errors + 1 while cooling down])
        * (1 + error_penalty * error_rate)

with the exponentially weighted means of the time to the first token and of the total latency, both in ms; a mean that
is missing is replaced by the other one, and without both the first factor and the last one are left out.

The error rate is errors / (errors + successes + 1), where all counts halve every ERROR_HALF_LIFE_MS: it decays even if
the service gets no requests. A failure never lowers a mean.

The value in shared data is bytes, all f64: until when any service cools down, then one ServiceStatistics per service.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from struct import Struct
from typing import NamedTuple

from .cluster_metrics import Verdict
from .lowest import lowest

ERROR_HALF_LIFE_MS = 30_000  # as long as the default cooldown

_MISSING = -1.0  # a mean without samples


class ServiceStatistics(NamedTuple):
    """What is known about one service. All times are in ms since the epoch, all durations in ms."""

    ttft_ms: float = _MISSING
    total_ms: float = _MISSING
    errors: float = 0.0
    successes: float = 0.0
    counted_ms: float = 0.0
    consecutive_errors: float = 0.0
    cooling_until_ms: float = 0.0


_NUMBER = Struct("<d")
_SERVICE = Struct(f"<{len(ServiceStatistics._fields)}d")
_FIRST = _NUMBER.size  # where the first service begins


@dataclass(frozen=True, slots=True)
class Weights:
    """The numbers of the configuration, by its names; the defaults are the reference's."""

    ewma_beta: float = 0.5
    p2c_choices: int = 2
    ttft_weight: float = 0.7
    total_latency_weight: float = 0.3
    error_penalty: float = 3.0
    failure_cooldown_ms: int = 30_000


class AdaptiveScore:
    """Decides among `size` services and keeps their statistics. None is a value without statistics."""

    def __init__(self, size: int, weights: Weights) -> None:
        self._size = size
        self._weights = weights
        self._empty = _NUMBER.pack(0.0) + _SERVICE.pack(*ServiceStatistics()) * size

    def candidates(
        self, value: bytes | None, among: Sequence[int], now_ms: int, random_bits: Callable[[int], int]
    ) -> Sequence[int]:
        """Those `among` the positions (at least one) that are not cooling down, if any; of these p2c_choices at random.

        `random_bits(n)` is a random integer of n bits.
        """
        ready = list(among)
        if value and _NUMBER.unpack_from(self._valid(value))[0] > now_ms:
            ready = [i for i in ready if self.service(value, i).cooling_until_ms <= now_ms] or ready
        choices = self._weights.p2c_choices
        if choices >= len(ready):
            return ready
        for i in range(choices):
            j = i + random_bits(31) % (len(ready) - i)
            ready[i], ready[j] = ready[j], ready[i]
        return ready[:choices]

    def scores(
        self, value: bytes | None, in_flight: Sequence[int], candidates: Sequence[int], now_ms: int
    ) -> list[float]:
        """The scores of the candidates, in their order; `in_flight` is by position."""
        valid = self._valid(value)
        weights = self._weights
        scores: list[float] = []
        for position in candidates:
            ttft, total, errors, successes, counted_ms, consecutive, cooling_until_ms = _SERVICE.unpack_from(
                valid, _FIRST + position * _SERVICE.size
            )
            load = in_flight[position] + 1.0
            if cooling_until_ms > now_ms:
                load += consecutive + 1
            if ttft < 0:
                ttft = total
            elif total < 0:
                total = ttft
            if total < 0:
                scores.append(load)
                continue
            latency = weights.ttft_weight * sqrt(ttft + 1) + weights.total_latency_weight * sqrt(total + 1)
            if errors:
                errors, successes = decayed(errors, successes, now_ms - counted_ms)
                load *= 1 + weights.error_penalty * errors / (errors + successes + 1)
            scores.append(latency * load)
        return scores

    def first_token(self, value: bytes | None, position: int, ttft_ms: float) -> bytes:
        """The value after the first body chunk of a success."""
        valid = self._valid(value)
        ttft_at = _FIRST + position * _SERVICE.size
        (mean,) = _NUMBER.unpack_from(valid, ttft_at)
        return valid[:ttft_at] + _NUMBER.pack(self._mean(mean, ttft_ms)) + valid[ttft_at + _NUMBER.size :]

    def finished(self, value: bytes | None, position: int, verdict: Verdict, total_ms: float, now_ms: int) -> bytes:
        """The value after the end of a request. An aborted one without a response tells nothing."""
        valid = self._valid(value)
        if verdict is Verdict.ABORTED:
            return valid
        ttft, mean, errors, successes, counted_ms, consecutive, cooling_until_ms = self.service(valid, position)
        errors, successes = decayed(errors, successes, now_ms - counted_ms)
        (any_cooling_until_ms,) = _NUMBER.unpack_from(valid)
        if verdict is Verdict.SUCCESS:
            successes += 1
            consecutive = 0.0
        else:
            errors += 1
            consecutive += 1
            cooling_until_ms = now_ms + self._weights.failure_cooldown_ms
            any_cooling_until_ms = max(any_cooling_until_ms, cooling_until_ms)
            total_ms = max(total_ms, mean if mean >= 0 else self._slowest(valid))
        changed = bytearray(valid)
        _NUMBER.pack_into(changed, 0, any_cooling_until_ms)
        _SERVICE.pack_into(
            changed,
            _FIRST + position * _SERVICE.size,
            ttft,
            self._mean(mean, total_ms),
            errors,
            successes,
            now_ms,
            consecutive,
            cooling_until_ms,
        )
        return bytes(changed)

    def service(self, value: bytes | None, position: int) -> ServiceStatistics:
        """What the value says about one service."""
        return ServiceStatistics(*_SERVICE.unpack_from(self._valid(value), _FIRST + position * _SERVICE.size))

    def _slowest(self, value: bytes) -> float:
        return max(self.service(value, position).total_ms for position in range(self._size))

    def _mean(self, mean: float, sample: float) -> float:
        beta = self._weights.ewma_beta
        return sample if mean < 0 else beta * mean + (1 - beta) * sample

    def _valid(self, value: bytes | None) -> bytes:
        return value if value is not None and len(value) == len(self._empty) else self._empty


def decayed(errors: float, successes: float, elapsed_ms: float) -> tuple[float, float]:
    """Counts of requests `elapsed_ms` later."""
    if not errors and not successes:
        return 0.0, 0.0
    left = 0.5 ** (max(0.0, elapsed_ms) / ERROR_HALF_LIFE_MS)
    return errors * left, successes * left


def choose(scores: Sequence[float], candidates: Sequence[int], random_number: int) -> int:
    """The position of the candidate with the lowest score; equals are drawn uniformly by `random_number`."""
    return candidates[lowest(scores, random_number)]
