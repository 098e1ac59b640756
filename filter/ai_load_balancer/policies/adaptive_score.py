"""AdaptiveScore: few requests in flight, low latencies and few failures, in one number; the lowest of some wins.

score = (ttft_weight * sqrt(ttft + 1) + total_latency_weight * sqrt(total + 1))
        * (in_flight + 1 [+ consecutive_errors + 1 while cooling down])
        * (1 + error_penalty * error_rate)

with the exponentially weighted means of the time to the first token and of the total latency, both in ms; a mean that
is missing is replaced by the other one, and without both the first factor is 1.

The error rate is errors / (errors + successes + 1), where all counts halve every ERROR_HALF_LIFE_MS: it decays even if
the service gets no requests. A failure never lowers a mean.

The statistics are a part of a value in shared data, all f64: until when any service cools down, then one
ServiceStatistics per service. The first factor is computed once, when a request ends, for all decisions after it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import perm, sqrt
from struct import Struct
from typing import NamedTuple

from .cluster_metrics import Verdict
from .value import Value

ERROR_HALF_LIFE_MS = 30_000  # as long as the default cooldown
MAX_DRAWS = 1024  # that are listed in advance; of more services the candidates are drawn one by one

_MISSING = -1.0  # a mean without samples
_SUCCESS, _ABORTED = Verdict.SUCCESS, Verdict.ABORTED


class ServiceStatistics(NamedTuple):
    """What is known about one service. All times are in ms since the epoch, all durations in ms.

    Errors decay, but for hours they are above 0, and as long as a service cools down.
    """

    latency_factor: float = 1.0
    errors: float = 0.0
    successes: float = 0.0
    counted_ms: float = 0.0
    consecutive_errors: float = 0.0
    cooling_until_ms: float = 0.0
    ttft_ms: float = _MISSING
    total_ms: float = _MISSING


_NUMBER = Struct("<d")
_FACTOR_AND_ERRORS = Struct("<2d")
_SERVICE = Struct(f"<{len(ServiceStatistics._fields)}d")
_HISTORY = Struct(f"<8x{len(ServiceStatistics._fields) - 1}d")  # all but the latency factor
_SERVICE_BYTES = _SERVICE.size


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
    """Decides among `size` services and keeps their statistics, which begin at `offset` in a value."""

    def __init__(self, size: int, weights: Weights, offset: int = 0) -> None:
        self._positions = range(size)
        self._weights = weights
        self._offset = offset
        self._first = offset + _NUMBER.size
        is_drawn = weights.p2c_choices < size and perm(size, weights.p2c_choices) <= MAX_DRAWS
        self._draws = tuple(permutations(range(size), weights.p2c_choices)) if is_drawn else ()  # if all are ready
        self.empty: Value = _NUMBER.pack(0.0) + _SERVICE.pack(*ServiceStatistics()) * size

    def candidates(
        self, value: Value, among: Sequence[int] | None, now_ms: float, random_bits: Callable[[int], int]
    ) -> Sequence[int]:
        """Those `among` the positions (at least one; None is all) that are not cooling down, if any are.

        Of more than p2c_choices as many are drawn; `random_bits(n)` is a random integer of n bits.
        """
        is_any_cooling = _NUMBER.unpack_from(value, self._offset)[0] > now_ms
        if self._draws and among is None and not is_any_cooling:
            return self._draws[random_bits(31) % len(self._draws)]
        ready = [*(self._positions if among is None else among)]
        if is_any_cooling:
            ready = [i for i in ready if self.service(value, i).cooling_until_ms <= now_ms] or ready
        choices = self._weights.p2c_choices
        if choices >= len(ready):
            return ready
        size = len(ready)
        drawn: list[int] = []
        while len(drawn) < choices:
            drawn.append(ready.pop(random_bits(31) % size))
            size -= 1
        return drawn

    def scores(self, value: Value, in_flight: Sequence[int], candidates: Sequence[int], now_ms: float) -> list[float]:
        """The scores of the candidates, in their order; `in_flight` is by position."""
        scores = []
        for position in candidates:
            factor, errors = _FACTOR_AND_ERRORS.unpack_from(value, self._first + position * _SERVICE_BYTES)
            load = in_flight[position] + 1.0
            scores.append(factor * (self._penalised(value, position, load, now_ms) if errors else load))
        return scores

    def finished(
        self,
        value: Value,
        position: int,
        verdict: Verdict,
        ttft_ms: float | None,
        total_ms: float,
        now_ms: float,
    ) -> Value:
        """The value after the end of a request, with times >= 0; `ttft_ms` is None if no token came.

        An abort tells nothing.
        """
        if verdict is _ABORTED:
            return value
        changed = bytearray(value)
        at = self._first + position * _SERVICE_BYTES
        errors, successes, counted_ms, consecutive, cooling_until_ms, ttft, total = _HISTORY.unpack_from(value, at)
        beta = self._weights.ewma_beta
        left = _left_after(now_ms - counted_ms)
        errors *= left
        successes *= left
        if verdict is _SUCCESS:
            successes += 1.0
            consecutive = 0.0
            if ttft_ms is not None:
                ttft = ttft_ms if ttft < 0.0 else beta * ttft + (1.0 - beta) * ttft_ms
        else:
            errors += 1.0
            consecutive += 1.0
            cooling_until_ms = now_ms + self._weights.failure_cooldown_ms
            (any_until_ms,) = _NUMBER.unpack_from(value, self._offset)
            _NUMBER.pack_into(changed, self._offset, max(any_until_ms, cooling_until_ms))
            total_ms = max(total_ms, total if total >= 0.0 else self._slowest(value))
        total = total_ms if total < 0.0 else beta * total + (1.0 - beta) * total_ms
        _SERVICE.pack_into(
            changed,
            at,
            self._latency_factor(ttft, total),
            errors,
            successes,
            now_ms,
            consecutive,
            cooling_until_ms,
            ttft,
            total,
        )
        return changed

    def service(self, value: Value, position: int) -> ServiceStatistics:
        """What the value says about one service."""
        return ServiceStatistics(*_SERVICE.unpack_from(value, self._first + position * _SERVICE_BYTES))

    def error_rate(self, service: ServiceStatistics, now_ms: float) -> float:
        """The decayed rate of failures, 0..1."""
        left = _left_after(now_ms - service.counted_ms)
        errors = service.errors * left
        return errors / (errors + service.successes * left + 1)

    def _penalised(self, value: Value, position: int, load: float, now_ms: float) -> float:
        service = self.service(value, position)
        if service.cooling_until_ms > now_ms:
            load += service.consecutive_errors + 1
        return load * (1 + self._weights.error_penalty * self.error_rate(service, now_ms))

    def _latency_factor(self, ttft_ms: float, total_ms: float) -> float:
        if ttft_ms < 0.0:
            ttft_ms = total_ms
        weights = self._weights
        return weights.ttft_weight * sqrt(ttft_ms + 1.0) + weights.total_latency_weight * sqrt(total_ms + 1.0)

    def _slowest(self, value: Value) -> float:
        return max([self.service(value, position).total_ms for position in self._positions])


def _left_after(elapsed_ms: float) -> float:
    """What is left of a count, 0..1."""
    return 0.5 ** (elapsed_ms / ERROR_HALF_LIFE_MS) if elapsed_ms > 0.0 else 1.0
