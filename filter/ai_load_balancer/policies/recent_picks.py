"""The last picks among services, for `rate_limit`: each one byte, the position of the service that was picked."""

from collections.abc import Sequence

MAX_SERVICES = 255


def with_pick(picks: bytes, position: int, window: int) -> bytes:
    """`picks` with one more; those before the last `window` are forgotten."""
    return (picks + bytes((position,)))[-window:]


def below_limit(picks: bytes, size: int, rate_limit: float) -> Sequence[int]:
    """The positions in 0 .. size - 1 whose share of the picks is below `rate_limit` (0..1); all, if none is."""
    room = rate_limit * len(picks)
    count = picks.count
    return [position for position in range(size) if count(position) < room] or range(size)
