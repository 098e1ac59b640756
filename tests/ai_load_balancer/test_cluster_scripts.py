"""acquire_bounded.lua and cluster_acquire.lua by their contracts, on a real Redis server and on the stand-in."""

import random
from math import ceil

import pytest
from ai_load_balancer.policies import endpoint_hash
from ai_load_balancer.scripts import ACQUIRE_BOUNDED, CLUSTER_ACQUIRE, LIVE_COUNTS, RELEASE, in_flight_keys

from tests.redis_servers import memory_redis_client

from .fairness import assert_uniform

KEYS = in_flight_keys(b"route", b"outbound|80||llm.dns")
TTL_MS = 60_000
ORDER = ("a:1", "b:1", "c:1")


@pytest.fixture(params=["real", "memory"])
def database(request):
    if request.param == "real":
        yield request.getfixturevalue("real_database")
    else:
        with memory_redis_client() as client:
            yield client


class Scripts:
    def __init__(self, database):
        self.database = database
        self.numbers = random.Random(0)

    def bounded(self, lease, order=ORDER, load_factor=1.25, weight=1):
        command = (*ACQUIRE_BOUNDED.by_source, *KEYS, weight, TTL_MS, load_factor, 0, "", lease, *order)
        position, count = self.database.execute_command(*command)
        return order[position - 1], count

    def cluster(self, lease, scores):
        number = self.numbers.getrandbits(31)
        pairs = [part for service, score in scores.items() for part in (service, score)]
        position, count = self.database.execute_command(
            *CLUSTER_ACQUIRE.by_source, *KEYS, 1, TTL_MS, lease, number, *pairs
        )
        return list(scores)[position - 1], count

    def release(self, *leases):
        return self.database.execute_command(*RELEASE.by_source, *KEYS, *leases)

    def live(self):
        reply = self.database.execute_command(*LIVE_COUNTS.by_source, *KEYS)
        return {reply[i].decode(): reply[i + 1] for i in range(0, len(reply), 2)}

    def let_expire(self, *leases):
        for lease in leases:
            assert self.database.zadd(KEYS[2], {lease: 1}, xx=True, ch=True)


@pytest.fixture
def scripts(database):
    return Scripts(database)


@pytest.mark.parametrize("load_factor", [1.0, 1.25, 2.0])
def test_the_bounded_choice_is_that_of_the_policy(scripts, load_factor):
    chance = random.Random(7)
    leases: list[str] = []
    for i in range(100):
        order = tuple(chance.sample(ORDER, chance.randint(1, 3)))
        in_flight = scripts.live()
        counts = [in_flight.get(endpoint, 0) for endpoint in order]
        expected = endpoint_hash.choose(order, counts, load_factor)
        chosen, count = scripts.bounded(f"lease-{i}", order, load_factor)
        assert (chosen, count) == expected
        assert count <= ceil(load_factor * (sum(counts) + 1) / len(order))
        leases.append(f"lease-{i}")
        if len(leases) > 20:
            assert scripts.release(leases.pop(chance.randrange(len(leases)))) == 1
    scripts.release(*leases)
    assert scripts.live() == {}


def test_a_weight_that_fits_nowhere_goes_to_the_least_loaded(scripts):
    scripts.bounded("one")
    assert scripts.bounded("heavy", weight=9) == ("b:1", 9)


def test_expired_leases_do_not_count_for_the_bound(scripts):
    assert scripts.bounded("one") == ("a:1", 1)
    assert scripts.bounded("two") == ("b:1", 1)
    scripts.let_expire("one")
    assert scripts.bounded("three") == ("a:1", 1)


def test_the_lowest_product_of_score_and_load_is_taken(scripts):
    scores = {"fast": 10, "slow": 40.5}
    assert [scripts.cluster(f"lease-{i}", scores) for i in range(5)] == [
        ("fast", 1),  # 10 against 40.5
        ("fast", 2),  # 20
        ("fast", 3),  # 30
        ("fast", 4),  # 40
        ("slow", 1),  # 50 against 40.5
    ]
    assert scripts.live() == {"fast": 4, "slow": 1}
    assert scripts.release("lease-0", "lease-0", "unknown") == 1
    assert scripts.live() == {"fast": 3, "slow": 1}


def test_a_service_that_is_no_candidate_is_left_alone(scripts):
    scripts.cluster("one", {"x": 1})
    assert scripts.cluster("two", {"y": 1e300, "z": 1e-300}) == ("z", 1)
    assert scripts.live() == {"x": 1, "z": 1}


def test_equal_products_are_drawn_uniformly(scripts):
    drawn = []
    for i in range(3000):
        drawn.append(scripts.cluster(f"lease-{i}", {"a": 5, "dear": 6, "b": 5, "c": 5})[0])
        scripts.release(f"lease-{i}")
    assert_uniform(drawn, ["a", "b", "c"])


def test_expired_leases_are_reaped(scripts):
    scripts.cluster("lost", {"a": 1})
    scripts.let_expire("lost")
    assert scripts.cluster("next", {"a": 1}) == ("a", 1)


def test_abandoned_keys_go_away_by_themselves(scripts, database):
    scripts.cluster("one", {"a": 1})
    scripts.bounded("two")
    assert all(0 < database.pttl(key) <= 86_400_000 for key in KEYS)
