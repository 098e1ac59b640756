"""When Redis is asked at all, and for how long a request may wait for its reply.

A request that waits longer than its budget is resumed by the tick, and decided on the next rung. After
FAILURES_TO_OPEN failures in a row (no connection, an error, a budget spent) the breaker opens: requests go to the next
rung at once, but for one every PROBE_INTERVAL_MS, and the first that succeeds closes the breaker.
"""

from typing import Generic, Protocol, TypeVar

from .due import is_due
from .waiting import Waiting

FAILURES_TO_OPEN = 5
PROBE_INTERVAL_MS = 1_000
MIN_TICK_PERIOD_MS = 10
MAX_TICK_PERIOD_MS = 1_000


class Asking(Protocol):
    """A request that is held until Redis replies."""

    context_id: int

    def on_budget_spent(self) -> None:
        """It waited for too long; called once, with the request as the current context."""

    def make_current(self) -> None: ...


A = TypeVar("A", bound=Asking)


class RedisRung(Generic[A]):
    """The waiting requests of one driver and the state of its breaker. Times are in ms since the epoch."""

    def __init__(self, budget_ms: int) -> None:
        self._waiting: Waiting[A] = Waiting(budget_ms)
        self.wait = self._waiting.add
        self.end_wait = self._waiting.discard  # the reply came, or the request is gone
        self.waiting = self._waiting.requests
        self._failures = 0
        self._probed_ms = 0
        self.tick_period_ms = min(max(budget_ms // 4, MIN_TICK_PERIOD_MS), MAX_TICK_PERIOD_MS)
        """Requests wait at most the budget and this."""

    @property
    def is_sound(self) -> bool:
        return self._failures < FAILURES_TO_OPEN

    @property
    def is_idle(self) -> bool:
        """Nobody waits."""
        return self._waiting.is_empty

    def may_ask(self, now_ms: int) -> bool:
        """Whether a request is to ask Redis."""
        if self._failures < FAILURES_TO_OPEN:
            return True
        if not is_due(now_ms, self._probed_ms, PROBE_INTERVAL_MS):
            return False
        self._probed_ms = now_ms
        return True

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self, now_ms: int) -> None:
        self._failures += 1
        if self._failures == FAILURES_TO_OPEN:
            self._probed_ms = now_ms

    def on_tick(self, now_ms: int) -> None:
        """Resumes those whose budget is spent."""
        for request in self._waiting.overdue(now_ms):
            self.failed(now_ms)
            request.make_current()
            request.on_budget_spent()
