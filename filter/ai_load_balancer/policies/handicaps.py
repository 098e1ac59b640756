"""What makes an endpoint look busier than its count says, so that it does not attract more than it can serve.

A *new* endpoint, or one that has recovered, begins with MIN_CAPACITY of its capacity and has all of it after
`slow_start_ms`: a count of 4 weighs as 9 if it has half of it. (Envoy's slow start begins with 10 %, too.) A request
that *failed* goes on counting until FAILURE_HOLD_MS after its start: an endpoint that fails at once would else always
be the least busy one, and by Little's law it now attracts no more than one that is as slow.

Handicaps are what one worker has seen. They change the order of preference, never a count or a limit.
"""

from bisect import insort
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

MIN_CAPACITY = 0.1
FAILURE_HOLD_MS = 10_000
MAX_FAILURES = 1024  # remembered at a time; beyond it the oldest is forgotten
OWNER_FAILURES = 3  # with so many, an endpoint is not preferred for what it knows

FAILURE_STATUS_MIN = 500
TOO_MANY_REQUESTS_STATUS = 429


class Handicap(NamedTuple):
    """`capacity` is above 0, at most 1; `failures` are requests that count although they have ended."""

    capacity: float
    failures: int


Handicaps: TypeAlias = Mapping[str, Handicap]  # by endpoint; those without one are not in it

NONE: Handicaps = {}


def load(endpoint: str, count: int, handicaps: Handicaps) -> float:
    """What the endpoint's count of requests in flight weighs; the count itself without a handicap."""
    handicap = handicaps.get(endpoint)
    if handicap is None:
        return count
    return (count + handicap.failures + 1) / handicap.capacity - 1


def loads(endpoints: Sequence[str], counts: Sequence[int], handicaps: Handicaps) -> Sequence[float]:
    """`load` of each endpoint; the counts are in the order of the endpoints."""
    if not handicaps:
        return counts
    return [load(endpoint, count, handicaps) for endpoint, count in zip(endpoints, counts, strict=True)]


def is_avoided(endpoint: str, handicaps: Handicaps) -> bool:
    """Whether it fails so much that what it knows of a prompt or a session is no reason to choose it."""
    return endpoint in handicaps and handicaps[endpoint].failures >= OWNER_FAILURES


def encoded(endpoints: Sequence[str], handicaps: Handicaps) -> str:
    """For the scripts: `<position>:<capacity>:<failures>` of each endpoint with a handicap, counted from 1."""
    if not handicaps:
        return ""
    return " ".join(
        [
            f"{position}:{handicaps[endpoint].capacity:.3f}:{handicaps[endpoint].failures}"
            for position, endpoint in enumerate(endpoints, 1)
            if endpoint in handicaps
        ]
    )


def is_failure(status: str) -> bool:
    """Whether a response's `:status` is no credit to its endpoint: the request was soon done with, not served."""
    return status.isdecimal() and (int(status) >= FAILURE_STATUS_MIN or int(status) == TOO_MANY_REQUESTS_STATUS)


class EndpointHealth:
    """What one worker knows of a cluster's endpoints: since when they are there, and which requests failed."""

    def __init__(self, slow_start_ms: int) -> None:
        self._slow_start_ms = slow_start_ms
        self._endpoints: tuple[str, ...] | None = None
        self._appeared_ms: dict[str, int] = {}
        self._failures: list[tuple[int, str]] = []  # (when it stops counting, endpoint), in this order
        self._failed: dict[str, int] = {}  # how many of them each endpoint has

    def fail(self, endpoint: str, started_ms: int) -> None:
        """A request that started then has failed."""
        insort(self._failures, (started_ms + FAILURE_HOLD_MS, endpoint))
        self._failed[endpoint] = self._failed.get(endpoint, 0) + 1
        if len(self._failures) > MAX_FAILURES:
            self._forget_failure()

    def handicaps(self, endpoints: tuple[str, ...], now_ms: int) -> Handicaps:
        """Those of now among the healthy endpoints; nearly always there are none. Those of the first call are old."""
        if endpoints is not self._endpoints:
            self._see(endpoints, now_ms)
        if not self._failures and not self._appeared_ms:
            return NONE
        failures = self._failures
        # One that stops counting later than any could is from before the clock was set back.
        while failures and not now_ms < failures[0][0] <= now_ms + FAILURE_HOLD_MS:
            self._forget_failure()
        failed, capacities = self._failed, self._capacities(now_ms)
        return {
            endpoint: Handicap(capacities.get(endpoint, 1.0), failed.get(endpoint, 0))
            for endpoint in failed.keys() | capacities.keys()
        }

    def _forget_failure(self) -> None:
        """The one that stops counting first."""
        _, endpoint = self._failures.pop(0)
        self._failed[endpoint] -= 1
        if not self._failed[endpoint]:
            del self._failed[endpoint]

    def _see(self, endpoints: tuple[str, ...], now_ms: int) -> None:
        if self._slow_start_ms and self._endpoints is not None:
            present = frozenset(endpoints)
            appeared = {endpoint: at_ms for endpoint, at_ms in self._appeared_ms.items() if endpoint in present}
            self._appeared_ms = appeared | dict.fromkeys(present.difference(self._endpoints), now_ms)
        self._endpoints = endpoints

    def _capacities(self, now_ms: int) -> dict[str, float]:
        """Of the endpoints that are still starting; the others are forgotten."""
        capacities: dict[str, float] = {}
        for endpoint, at_ms in list(self._appeared_ms.items()):
            part = (now_ms - at_ms) / self._slow_start_ms
            if -1 < part < 1:  # else it is long ago, or from before the clock was set back by more than this
                capacities[endpoint] = max(MIN_CAPACITY, part)
            else:
                del self._appeared_ms[endpoint]
        return capacities
