"""Whether draws are uniform, by chi-square."""

from collections import Counter
from collections.abc import Hashable, Iterable
from math import sqrt


def assert_uniform(draws: Iterable[Hashable], over: Iterable[Hashable]) -> None:
    """The draws are over all of `over` and nothing else, and even; a fair source fails once in about 1,000 seeds."""
    counts = Counter(draws)
    expected_values = list(over)
    assert set(counts) == set(expected_values), counts
    expected = counts.total() / len(expected_values)
    statistic = sum((counts[value] - expected) ** 2 / expected for value in expected_values)
    assert statistic < chi_square_bound(len(expected_values) - 1), counts


def chi_square_bound(degrees_of_freedom: int) -> float:
    """The 99.9 % quantile, by Wilson and Hilferty's approximation (within 2 % from 2 degrees on)."""
    part = 2 / (9 * degrees_of_freedom)
    return degrees_of_freedom * (1 - part + 3.0902 * sqrt(part)) ** 3
