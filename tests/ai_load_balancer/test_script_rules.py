"""The Lua decides as the Python does, whatever is in flight, with limits and handicaps; and tells the counts if asked.

What prefix_acquire.lua decides is compared in test_prefix_cache.py.
"""

import random
from collections import Counter

import pytest
from ai_load_balancer.policies import endpoint_hash, global_least_request
from ai_load_balancer.policies.decision import Rejected
from ai_load_balancer.policies.handicaps import NONE, Handicap, encoded
from ai_load_balancer.scripts import (
    ACQUIRE,
    ACQUIRE_BOUNDED,
    RELEASE,
    in_flight_keys,
    prefix_acquire,
    prefix_key_prefix,
)

from tests.redis_servers import memory_redis_client

from .random_handicaps import random_handicaps

ROUTE, CLUSTER = b"route", b"outbound|80||llm.dns"
KEYS = in_flight_keys(ROUTE, CLUSTER)
NAMES = tuple(f"10.0.0.{i}:80" for i in range(8))
TTL_MS = 60_000
STEPS = 200
MAX_HELD = 20


class Scripts:
    def __init__(self, database):
        self.database = database
        self.leases = 0

    def acquire(self, endpoints, limit=0, number=0, handicaps=NONE, detail=1):
        return self._run(ACQUIRE, KEYS, limit, detail, encoded(endpoints, handicaps), self._lease(), number, *endpoints)

    def acquire_bounded(self, order, load_factor, handicaps=NONE, detail=1):
        return self._run(ACQUIRE_BOUNDED, KEYS, load_factor, detail, encoded(order, handicaps), self._lease(), *order)

    def prefix_acquire(self, endpoints, handicaps=NONE, detail=1):
        keys = (*KEYS, prefix_key_prefix(ROUTE, CLUSTER) + b"block")
        arguments = (0, detail, 60_000, encoded(endpoints, handicaps), self._lease(), 0)
        return self._run(prefix_acquire(1), keys, *arguments, *endpoints)

    def release(self, lease):
        self.database.execute_command(*RELEASE.by_source, *KEYS, lease)

    def last_lease(self):
        return f"lease-{self.leases}"

    def _lease(self):
        self.leases += 1
        return self.last_lease()

    def _run(self, script, keys, *arguments):
        return self.database.execute_command(*script.by_source, *keys, 1, TTL_MS, *arguments)


@pytest.fixture(params=["real", "memory"])
def scripts(request):
    if request.param == "real":
        yield Scripts(request.getfixturevalue("real_database"))
    else:
        with memory_redis_client() as client:
            yield Scripts(client)


class InFlight:
    """What the script must know, and requests that end."""

    def __init__(self, scripts, chance):
        self.scripts = scripts
        self.chance = chance
        self.counts: Counter[str] = Counter()
        self.held: dict[str, str] = {}

    def take(self, endpoint):
        self.counts[endpoint] += 1
        self.held[self.scripts.last_lease()] = endpoint
        while len(self.held) > MAX_HELD:
            lease = self.chance.choice(list(self.held))
            self.counts[self.held.pop(lease)] -= 1
            self.scripts.release(lease)

    def of(self, endpoints):
        return [self.counts[endpoint] for endpoint in endpoints]


@pytest.mark.parametrize("seed", range(5))
def test_least_request(scripts, seed):
    chance = random.Random(seed)
    in_flight = InFlight(scripts, chance)
    for step in range(STEPS):
        endpoints = tuple(chance.sample(NAMES, chance.randint(1, len(NAMES))))
        limit, number = chance.choice([0, 0, 2, 4]), chance.getrandbits(31)
        handicaps = random_handicaps(chance, endpoints)
        counts = in_flight.of(endpoints)
        expected = global_least_request.choose(endpoints, counts, limit, number, handicaps)
        position, *found = scripts.acquire(endpoints, limit, number, handicaps)
        if isinstance(expected, Rejected):
            assert [position, *found] == [0, expected.lowest_in_flight, *counts], (seed, step)
            continue
        assert (endpoints[position - 1], found[0]) == expected, (seed, step)
        counts[position - 1] += 1
        assert found[1:] == counts, (seed, step)
        in_flight.take(expected[0])


@pytest.mark.parametrize("seed", range(5))
def test_bounded_load(scripts, seed):
    chance = random.Random(seed)
    in_flight = InFlight(scripts, chance)
    for step in range(STEPS):
        order = tuple(chance.sample(NAMES, chance.randint(1, len(NAMES))))
        load_factor = chance.choice([1.0, 1.1, 1.25, 2.0])
        handicaps = random_handicaps(chance, order)
        counts = in_flight.of(order)
        expected = endpoint_hash.choose(order, counts, load_factor, handicaps)
        position, *found = scripts.acquire_bounded(order, load_factor, handicaps)
        assert (order[position - 1], found[0]) == expected, (seed, step)
        counts[position - 1] += 1
        assert found[1:] == counts, (seed, step)
        in_flight.take(expected[0])


def test_counts_are_told_only_if_they_are_asked_for(scripts):
    two = NAMES[:2]
    assert scripts.acquire(two, detail=0) == [1, 1]
    assert scripts.acquire_bounded(two, 2.0, detail=0) == [1, 2]
    assert scripts.prefix_acquire(two, detail=0) == [2, 1, 0]
    assert scripts.acquire(two, limit=1, detail=0) == [0, 1]
    assert scripts.acquire(two, limit=1) == [0, 1, 2, 1]
    assert scripts.acquire(two) == [2, 2, 2, 2]
    assert scripts.acquire_bounded(two, 2.0) == [1, 3, 3, 2]
    assert scripts.prefix_acquire(two) == [2, 3, 1, 3, 3]


@pytest.mark.shows("defect 4")
def test_an_endpoint_that_starts_gets_its_share_of_the_load(scripts):
    """With a quarter of its capacity it gets a fifth of two endpoints' requests."""
    two = NAMES[:2]
    starting = {two[0]: Handicap(0.25, 0)}
    drawn = Counter(scripts.acquire(two, handicaps=starting)[0] for _ in range(50))
    assert drawn == {1: 10, 2: 40}


def test_failures_count_as_requests_in_flight(scripts):
    two = NAMES[:2]
    failing = {two[0]: Handicap(1.0, 3)}
    assert [scripts.acquire(two, handicaps=failing)[0] for _ in range(3)] == [2, 2, 2]
    assert {scripts.acquire(two, number=number, handicaps=failing)[0] for number in (0, 1)} == {1, 2}


def test_an_owner_that_fails_is_not_preferred(scripts):
    two = NAMES[:2]
    assert scripts.prefix_acquire(two)[0] == 1
    assert scripts.prefix_acquire(two, {two[0]: Handicap(1.0, 2)})[0] == 1
    assert scripts.prefix_acquire(two, {two[0]: Handicap(1.0, 3)})[0] == 2
