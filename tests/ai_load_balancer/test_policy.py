"""The pure decisions of global_least_request."""

import random
from collections import Counter

import pytest
from ai_load_balancer.policies.decision import Rejected, Routed
from ai_load_balancer.policies.global_least_request import MalformedReply, choose, read_reply

from .fairness import assert_uniform

ENDPOINTS = ("a:1", "b:1", "c:1")

# 99.9 % quantile of chi-square with 2 degrees of freedom: a fair choice exceeds it once in 1,000 seeds, and the seed is
# fixed.
CHI_SQUARE_BOUND = 13.8


@pytest.mark.parametrize(
    ("in_flight", "expected"),
    [
        ((2, 1, 2), Routed("b:1", 2)),
        ((1, 1, 0), Routed("c:1", 1)),
        ((5, 6, 7), Routed("a:1", 6)),
    ],
)
def test_the_lowest_count_is_chosen(in_flight, expected):
    assert all(choose(ENDPOINTS, in_flight, 0, number) == expected for number in range(20))


def chosen(in_flight: tuple[int, int, int], numbers: random.Random) -> str:
    decision = choose(ENDPOINTS, in_flight, 0, numbers.getrandbits(31))
    assert isinstance(decision, Routed)
    return decision.endpoint


@pytest.mark.shows("defect 8")
def test_equals_are_drawn_uniformly():
    numbers = random.Random(1)
    assert_uniform([chosen((0, 0, 0), numbers) for _ in range(3000)], ENDPOINTS)


def test_only_the_lowest_are_drawn():
    numbers = random.Random(2)
    drawn = Counter(chosen((0, 1, 0), numbers) for _ in range(300))
    assert set(drawn) == {"a:1", "c:1"}


@pytest.mark.parametrize(
    ("lowest", "limit", "expected"),
    [(2, 3, Routed), (3, 3, Rejected), (4, 3, Rejected), (1000, 0, Routed), (0, 1, Routed)],
)
def test_no_endpoint_goes_above_the_limit(lowest, limit, expected):
    assert type(choose(ENDPOINTS, [lowest] * 3, limit, 0)) is expected


def test_the_reply_of_the_script_is_read():
    assert read_reply([2, 7], ENDPOINTS) == Routed("b:1", 7)
    assert read_reply([3, 1], ENDPOINTS) == Routed("c:1", 1)
    assert read_reply([0, 4], ENDPOINTS) == Rejected(4)


@pytest.mark.parametrize(
    "reply",
    [
        None,
        b"OK",
        7,
        [],
        [1],
        [1, 2, 3],
        [4, 1],
        [-1, 1],
        [1, 0],
        [1, -1],
        [0, 0],
        [b"1", b"1"],
        [1, None],
        [[1], 1],
        ValueError("no reply"),
        b"x" * 100_000,
    ],
)
def test_a_malformed_reply_is_refused_with_an_excerpt(reply):
    with pytest.raises(MalformedReply, match=r"^expected \[1\.\.3 or 0, count > 0\], found ") as caught:
        read_reply(reply, ENDPOINTS)
    assert len(str(caught.value)) < 300
