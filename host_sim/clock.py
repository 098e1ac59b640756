"""Time as a parameter: what the clock shows, and what happens later.

Two peers under one Protocol: `LoopScheduler` is the real time of an asyncio loop; `ManualScheduler` stands still until
it is told to advance, so a test never sleeps.
"""

import asyncio
import heapq
import time
from collections.abc import Callable
from typing import Protocol

NANOSECONDS_PER_MS = 1_000_000
MANUAL_EPOCH_NS = 1_700_000_000 * 1_000_000_000  # a round date in 2023: where manual time starts


class Timer(Protocol):
    def cancel(self) -> None: ...


class Scheduler(Protocol):
    def realtime_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since some start; never goes back."""

    def call_later(self, delay_ms: float, action: Callable[[], None]) -> Timer:
        """Run `action` once after `delay_ms`, unless cancelled."""


class LoopScheduler:
    """Real time; made inside a running asyncio loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def realtime_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def call_later(self, delay_ms: float, action: Callable[[], None]) -> Timer:
        return self._loop.call_later(delay_ms / 1000, action)


class _Event:
    __slots__ = ("action", "at_ns", "sequence")

    def __init__(self, at_ns: int, sequence: int, action: Callable[[], None]) -> None:
        self.at_ns = at_ns
        self.sequence = sequence
        self.action: Callable[[], None] | None = action

    def __lt__(self, other: "_Event") -> bool:
        return (self.at_ns, self.sequence) < (other.at_ns, other.sequence)

    def cancel(self) -> None:
        self.action = None


class ManualScheduler:
    """Time that moves only in `advance`; events of the same time run in the order in which they were made."""

    def __init__(self, epoch_ns: int = MANUAL_EPOCH_NS) -> None:
        self._epoch_ns = epoch_ns
        self._now_ns = 0
        self._sequence = 0
        self._events: list[_Event] = []

    def realtime_ns(self) -> int:
        return self._epoch_ns + self._now_ns

    def monotonic_ns(self) -> int:
        return self._now_ns

    def call_later(self, delay_ms: float, action: Callable[[], None]) -> Timer:
        self._sequence += 1
        event = _Event(self._now_ns + int(delay_ms * NANOSECONDS_PER_MS), self._sequence, action)
        heapq.heappush(self._events, event)
        return event

    def advance(self, duration_ms: float) -> None:
        """Let time pass and run, in order, what falls due within it, also what is added on the way."""
        end_ns = self._now_ns + int(duration_ms * NANOSECONDS_PER_MS)
        while self._events and self._events[0].at_ns <= end_ns:
            event = heapq.heappop(self._events)
            self._now_ns = max(self._now_ns, event.at_ns)
            if event.action is not None:
                event.action()
        self._now_ns = end_ns
