"""endpoint_hash: sessions stay, loads are bounded, and a removed endpoint moves its own sessions only."""

import random
from collections import Counter
from math import ceil

import pytest
from ai_load_balancer.policies import endpoint_hash
from ai_load_balancer.policies.endpoint_hash import SESSION_BUCKETS, EndpointHash, choose, stable_hash
from hypothesis import given
from hypothesis import strategies as st

from .fairness import assert_uniform

ENDPOINTS = tuple(f"10.0.0.{i}:8000" for i in range(1, 6))
SESSIONS = [f"consumer-{i}" for i in range(300)]

some_endpoints = st.lists(st.integers(0, 255), min_size=1, max_size=20, unique=True).map(
    lambda numbers: tuple(f"10.0.0.{number}:80" for number in numbers)
)


@given(some_endpoints, st.binary(max_size=20).map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_an_order_is_of_all_endpoints_and_stays(endpoints, session):
    order = EndpointHash().order(endpoints, session)
    assert sorted(order) == sorted(endpoints)
    assert EndpointHash().order(endpoints, session) == order
    assert EndpointHash().order(endpoints[::-1], session) == order


def test_hashes_are_the_same_in_every_build():
    assert stable_hash("10.0.0.1:8000") == 1037991332
    assert EndpointHash().order(ENDPOINTS, "consumer-2")[0] == "10.0.0.2:8000"


@pytest.mark.parametrize("size", [2, 3, 16, 128])
def test_endpoints_are_preferred_alike(size):
    endpoints = tuple(f"10.0.{i // 100}.{i % 100}:80" for i in range(size))
    policy = endpoint_hash.SessionOrders(endpoints)
    assert_uniform([policy.order(bucket)[0] for bucket in range(SESSION_BUCKETS)], endpoints)


def test_second_choices_are_spread_too():
    policy = endpoint_hash.SessionOrders(ENDPOINTS)
    pairs = [policy.order(bucket)[:2] for bucket in range(SESSION_BUCKETS)]
    assert_uniform(pairs, [(a, b) for a in ENDPOINTS for b in ENDPOINTS if a != b])


@given(some_endpoints.filter(lambda endpoints: len(endpoints) > 1), st.data())
def test_a_removed_endpoint_moves_its_own_sessions_only(endpoints, data):
    removed = data.draw(st.sampled_from(endpoints))
    left = tuple(endpoint for endpoint in endpoints if endpoint != removed)
    policy = EndpointHash()
    for session in SESSIONS[:50]:
        before, after = policy.order(endpoints, session), policy.order(left, session)
        assert after == tuple(endpoint for endpoint in before if endpoint != removed)


def test_an_idle_gateway_sends_every_session_to_its_first_endpoint():
    policy = EndpointHash()
    for session in SESSIONS:
        order = policy.order(ENDPOINTS, session)
        assert choose(order, [0] * len(order), 1.25) == (order[0], 1)


@pytest.mark.parametrize(
    ("in_flight", "load_factor", "expected"),
    [
        ((1, 0, 0), 1.25, ("b", 1)),  # bound ceil(1.25 * 2 / 3) = 1
        ((1, 0, 0), 2.0, ("a", 2)),  # bound ceil(2 * 2 / 3) = 2
        ((2, 2, 2), 1.25, ("a", 3)),
        ((5, 4, 0), 1.25, ("b", 5)),  # bound ceil(1.25 * 10 / 3) = 5
        ((3, 3, 0), 1.0, ("c", 1)),
    ],
)
def test_the_first_within_the_bound_is_taken(in_flight, load_factor, expected):
    assert choose(("a", "b", "c"), in_flight, load_factor) == expected


@pytest.mark.shows("key lb_config.load_factor")
@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=12),
    st.floats(1.0, 3.0),
)
def test_the_bound_is_never_exceeded(counts, load_factor):
    order = tuple(f"{i}" for i in range(len(counts)))
    chosen, count = choose(order, counts, load_factor)
    bound = ceil(load_factor * (sum(counts) + 1) / len(counts))
    assert count == counts[int(chosen)] + 1 <= bound
    assert all(counts[i] >= bound for i in range(int(chosen)))


@pytest.mark.parametrize("seed", range(3))
def test_loads_stay_bounded_and_most_sessions_stay_with_few_hot_ones(seed):
    chance = random.Random(seed)
    policy = EndpointHash()
    in_flight: Counter[str] = Counter()
    running: list[str] = []
    at_first = 0
    for _ in range(2000):
        if len(running) >= 60:
            in_flight[running.pop(chance.randrange(len(running)))] -= 1
        session = SESSIONS[min(int(chance.expovariate(1 / 60)), len(SESSIONS) - 1)]
        order = policy.order(ENDPOINTS, session)
        endpoint, _count = choose(order, [in_flight[endpoint] for endpoint in order], 1.25)
        in_flight[endpoint] += 1
        running.append(endpoint)
        at_first += endpoint == order[0]
        assert in_flight[endpoint] <= ceil(1.25 * len(running) / len(ENDPOINTS))
    assert at_first > 1000


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(endpoint_hash, "MAX_ENDPOINT_SETS", 3)
    policy = EndpointHash()
    for i in range(50):
        first = policy.order((*ENDPOINTS, f"{i}"), SESSIONS[i])
        assert policy.order((*ENDPOINTS, f"{i}"), SESSIONS[i]) is first
        for session in SESSIONS[:20]:
            policy.order(ENDPOINTS, session)
        assert len(policy._sets) <= 3
    for i in range(2 * SESSION_BUCKETS):
        policy.order(("a", "b"), f"{i}")
    assert len(policy._sets["a", "b"]._orders) <= SESSION_BUCKETS
