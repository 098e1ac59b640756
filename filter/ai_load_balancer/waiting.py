"""Requests that are held for something that may never come. The tick ends their wait."""

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from .due import is_due


class Held(Protocol):
    context_id: int


H = TypeVar("H", bound=Held)


class Waiting(Generic[H]):
    """Requests that wait for at most `limit_ms`, and until the next tick. Times are in ms since the epoch."""

    def __init__(self, limit_ms: int) -> None:
        self._limit_ms = limit_ms
        self._held: dict[int, tuple[int, H]] = {}  # by context id, the longest waiting first

    @property
    def is_empty(self) -> bool:
        return not self._held

    def add(self, request: H, now_ms: int) -> None:
        self._held[request.context_id] = now_ms, request

    def discard(self, request: H) -> None:
        self._held.pop(request.context_id, None)

    def requests(self) -> list[H]:
        return [request for _, request in self._held.values()]

    def overdue(self, now_ms: int) -> Iterator[H]:
        """Those that have waited long enough; they wait no more."""
        held = self._held
        while held:
            context_id = next(iter(held))
            since_ms, request = held[context_id]
            if not is_due(now_ms, since_ms, self._limit_ms):
                return
            del held[context_id]
            yield request
