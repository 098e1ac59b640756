"""The rule that all policies share: the lowest value wins, and equals are drawn uniformly."""

from collections.abc import Sequence


def lowest(values: Sequence[float], random_number: int) -> int:
    """The position of the lowest of `values` (at least one).

    `random_number` is uniform in a range that is large against the number of values, and decides among equals.
    """
    least = min(values)
    equals = values.count(least)
    position = values.index(least)
    if equals > 1:
        for _ in range(random_number % equals):
            position = values.index(least, position + 1)
    return position
