"""The order of events in a gateway's thread: what arrives while a guest runs is delivered after it.

`with dispatcher:` is one event from outside; events may nest, and the inbox is emptied at the end of the outermost.
"""

from collections import deque
from collections.abc import Callable
from types import TracebackType

from .errors import SimulatorError

DELIVERIES_MAX = 100_000  # in one go; more means that guest and host answer each other for ever

OnError = Callable[[Exception], None]


class Dispatcher:
    """`on_error()` tells who hears of an error in a delivery; None: it is raised where the delivery runs."""

    __slots__ = ("_entries", "_inbox", "_on_error")

    def __init__(self, on_error: Callable[[], OnError | None]) -> None:
        self._inbox: deque[Callable[[], None]] = deque()
        self._entries = 0
        self._on_error = on_error

    def __enter__(self) -> None:
        self._entries += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._inbox and self._entries == 1 and kind is None:
                self._drain()
        finally:
            self._entries -= 1

    def deliver(self, action: Callable[[], None]) -> None:
        """Run `action` now, or after the event in progress."""
        self._inbox.append(action)
        if not self._entries:
            with self:
                pass

    def _drain(self) -> None:
        for _ in range(DELIVERIES_MAX):
            if not self._inbox:
                return
            self._run(self._inbox.popleft())
        raise SimulatorError(f"{DELIVERIES_MAX} deliveries in one go: plugin and host answer each other for ever")

    def _run(self, delivery: Callable[[], None]) -> None:
        on_error = self._on_error()
        if on_error is None:
            delivery()
            return
        try:
            delivery()
        except Exception as error:
            on_error(error)
