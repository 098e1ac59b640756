"""When something is due, by a clock that may be set back."""


def is_due(now_ms: float, since_ms: float, period_ms: float) -> bool:
    """Whether the period that began then is over; also if it has not begun, as the clock was set back meanwhile."""
    return not since_ms <= now_ms < since_ms + period_ms
