"""Time as a parameter: what the clock shows, and what happens later.

Two peers under one Protocol: `LoopScheduler` is the real time of an asyncio loop; `ManualScheduler` is one heap of
events whose time stands still until somebody lets it pass, so a test never sleeps and a run repeats. With a `Pace` the
same heap is played at the speed of real time.
"""

import asyncio
import heapq
import time
from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

NANOSECONDS_PER_MS = 1_000_000
MANUAL_EPOCH_NS = 1_700_000_000 * 1_000_000_000  # a round date in 2023: where manual time starts


class Priority(IntEnum):
    """What goes first of what falls due at the same moment: what arrives just in time is in time."""

    ARRIVAL = 0
    TIMEOUT = 1


class Timer(Protocol):
    def cancel(self) -> None: ...


class Scheduler(Protocol):
    def realtime_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since some start; never goes back."""

    def call_later(
        self, delay_ms: float, action: Callable[[], None], priority: Priority = Priority.ARRIVAL, /
    ) -> Timer:
        """Run `action` once after `delay_ms`, unless cancelled."""


class LoopScheduler:
    """Real time; made inside a running asyncio loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def realtime_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def call_later(
        self, delay_ms: float, action: Callable[[], None], priority: Priority = Priority.ARRIVAL, /
    ) -> Timer:
        """No two moments of real time are the same, so the priority does not matter."""
        return self._loop.call_later(delay_ms / 1000, action)


class Pace:
    """Holds events back until their time has come in real time, counted from when the pace was made."""

    def __init__(
        self,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        sleep_s: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock_ns = clock_ns
        self._sleep_s = sleep_s
        self._start_ns = clock_ns()

    def wait_until(self, at_ns: int) -> None:
        """`at_ns` is the time since the start."""
        while (left_ns := at_ns - (self._clock_ns() - self._start_ns)) > 0:
            self._sleep_s(left_ns / 1e9)


class _Event:
    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self.action = None


class ManualScheduler:
    """Events run in the order of (time, priority, when they were made)."""

    def __init__(self, epoch_ns: int = MANUAL_EPOCH_NS, pace: Pace | None = None) -> None:
        self._epoch_ns = epoch_ns
        self._now_ns = 0
        self._sequence = 0
        self._events: list[tuple[int, int, int, _Event]] = []
        self._pace = pace

    def __repr__(self) -> str:
        return f"<{self._now_ns / NANOSECONDS_PER_MS:.3f} ms, {len(self._events)} events>"

    def realtime_ns(self) -> int:
        return self._epoch_ns + self._now_ns

    def set_realtime(self, by_ms: float) -> None:
        """Sets the clock that tells the time of day, forward or (below 0) back; timers run on."""
        self._epoch_ns += round(by_ms * NANOSECONDS_PER_MS)

    def monotonic_ns(self) -> int:
        return self._now_ns

    @property
    def next_ns(self) -> int | None:
        """When the next event falls due, by `monotonic_ns`; None if there is none."""
        events = self._events
        while events and events[0][3].action is None:
            heapq.heappop(events)
        return events[0][0] if events else None

    def call_later(
        self, delay_ms: float, action: Callable[[], None], priority: Priority = Priority.ARRIVAL, /
    ) -> Timer:
        self._sequence += 1
        event = _Event(action)
        at_ns = self._now_ns + round(delay_ms * NANOSECONDS_PER_MS)
        heapq.heappush(self._events, (at_ns, priority, self._sequence, event))
        return event

    def step(self) -> bool:
        """Run the next event, which may let time pass; False if there is none."""
        events = self._events
        while events:
            at_ns, _, _, event = heapq.heappop(events)
            action = event.action
            if action is not None:
                self._pass(at_ns)
                event.action = None
                action()
                return True
        return False

    def advance(self, duration_ms: float) -> None:
        """Let time pass and run, in order, what falls due within it, also what is added on the way."""
        end_ns = self._now_ns + round(duration_ms * NANOSECONDS_PER_MS)
        while (next_ns := self.next_ns) is not None and next_ns <= end_ns:
            self.step()
        self._pass(end_ns)

    def _pass(self, until_ns: int) -> None:
        if until_ns > self._now_ns:
            if self._pace is not None:
                self._pace.wait_until(until_ns)
            self._now_ns = until_ns
