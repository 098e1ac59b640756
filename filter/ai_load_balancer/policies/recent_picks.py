"""The last picks among services, for `rate_limit`: a service whose share of them has reached it is not picked.

A value in shared data begins with them, one byte each, the oldest first: the position of the service that was picked,
or NOBODY as long as there were fewer picks.
"""

from collections.abc import Sequence

from .value import Value

MAX_SERVICES = 255
NOBODY = 255


class RecentPicks:
    """The last `window` picks among `size` services; `rate_limit` is of 0..1. A value may go on behind them."""

    def __init__(self, size: int, window: int, rate_limit: float) -> None:
        self._positions = range(size)
        self._window = window
        self._rate_limit = rate_limit
        self._limit = rate_limit * window  # picks, once there were as many as the window holds
        self.empty: Value = bytes((NOBODY,)) * window

    def is_at_limit(self, value: Value, position: int) -> bool:
        """Whether the service's share of the picks has reached the limit."""
        window = self._window
        picks = value.count(position, 0, window)
        if value[0] != NOBODY:
            return picks >= self._limit
        return picks >= self._rate_limit * (window - value.count(NOBODY, 0, window))

    def below_limit(self, value: Value) -> Sequence[int] | None:
        """The positions of all services below the limit; None if none is, and then all may be picked."""
        return [position for position in self._positions if not self.is_at_limit(value, position)] or None

    def with_pick(self, value: Value, position: int) -> Value:
        """The value with one more pick; the oldest is forgotten."""
        changed = bytearray(value)
        del changed[0]
        changed.insert(self._window - 1, position)
        return changed

    def share(self, value: Value, position: int) -> float:
        """The service's share of the picks, 0..1."""
        return value.count(position, 0, self._window) / (self._window - value.count(NOBODY, 0, self._window) or 1)
