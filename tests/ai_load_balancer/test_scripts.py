"""The Lua scripts by their contracts, on a real Redis server and on the stand-in of the long simulations."""

import random
import time
from collections import Counter

import pytest
from ai_load_balancer import scripts
from ai_load_balancer.scripts import ACQUIRE, LIVE_COUNTS, RELEASE, RENEW, in_flight_keys
from proxywasm import RedisScript
from redis.crc import key_slot

from tests.redis_servers import memory_redis_client

from .fairness import assert_uniform

COUNTS, LEASES, EXPIRIES = KEYS = in_flight_keys(b"route", b"outbound|80||llm.dns")
ENDPOINTS = ("a:1", "b:1", "c:1")
TTL_MS = 60_000


class Leases:
    """The scripts as functions."""

    def __init__(self, database):
        self.database = database
        self.numbers = random.Random(0)

    def acquire(self, lease, endpoints=ENDPOINTS, weight=1, ttl_ms=TTL_MS, limit=0):
        number = self.numbers.getrandbits(31)
        command = (*ACQUIRE.by_source, *KEYS, weight, ttl_ms, limit, 0, "", lease, number, *endpoints)
        position, count = self.database.execute_command(*command)
        return (endpoints[position - 1] if position else None), count

    def release(self, *leases):
        return self.database.execute_command(*RELEASE.by_source, *KEYS, *leases)

    def renew(self, *leases, ttl_ms=TTL_MS):
        arguments = [part for lease, endpoint in leases for part in (lease, 1, endpoint)]
        return self.database.execute_command(*RENEW.by_source, *KEYS, ttl_ms, *arguments)

    def live(self):
        reply = self.database.execute_command(*LIVE_COUNTS.by_source, *KEYS)
        return {reply[i].decode(): reply[i + 1] for i in range(0, len(reply), 2)}

    def stored(self):
        """What the hash says, expired leases included."""
        return {endpoint.decode(): int(count) for endpoint, count in self.database.hgetall(COUNTS).items()}

    def is_empty(self):
        return not self.database.keys("*")

    def let_expire(self, *leases):
        """As if their time had passed."""
        for lease in leases:
            assert self.database.zadd(EXPIRIES, {lease: 1}, xx=True, ch=True)


@pytest.fixture(params=["real", "memory"])
def database(request):
    """A client of an empty server; for the real one, the fixture of all tests of the filter."""
    if request.param == "real":
        yield request.getfixturevalue("real_database")
    else:
        with memory_redis_client() as client:
            yield client


@pytest.fixture
def leases(database):
    return Leases(database)


def test_the_least_loaded_endpoint_is_taken_and_counted(leases):
    taken = [leases.acquire(f"lease-{i}") for i in range(7)]
    assert sorted(endpoint for endpoint, _ in taken[:3]) == list(ENDPOINTS)
    assert [count for _, count in taken] == [1, 1, 1, 2, 2, 2, 3]
    assert leases.stored() == leases.live()
    assert sorted(leases.live().values()) == [2, 2, 3]


def test_equals_are_drawn_uniformly(leases):
    drawn = []
    for i in range(3000):
        drawn.append(leases.acquire(f"lease-{i}")[0])
        leases.release(f"lease-{i}")
    assert_uniform(drawn, ENDPOINTS)


def test_a_release_counts_once(leases):
    leases.acquire("one")
    assert leases.release("one") == 1
    assert leases.release("one") == 0
    assert leases.release("never taken") == 0
    assert leases.is_empty()


def test_several_leases_are_released_in_one_call(leases):
    for lease in ("one", "two", "three"):
        leases.acquire(lease)
    assert leases.release("one", "nobody's", "three") == 2
    assert sum(leases.live().values()) == 1


def test_the_limit_holds_and_a_rejected_lease_is_not_counted(leases):
    for i in range(6):
        assert leases.acquire(f"lease-{i}", limit=2)[0]
    assert leases.acquire("one too many", limit=2) == (None, 2)
    assert leases.release("one too many") == 0
    leases.release("lease-0")
    assert leases.acquire("fits again", limit=2)[0]


def test_weights_are_summed_and_returned(leases):
    assert leases.acquire("heavy", weight=5, endpoints=("a:1",)) == ("a:1", 5)
    assert leases.acquire("light", endpoints=("a:1",)) == ("a:1", 6)
    assert leases.acquire("too heavy", weight=5, limit=10, endpoints=("a:1",)) == (None, 6)
    leases.release("heavy")
    assert leases.live() == {"a:1": 1}


def test_an_expired_lease_does_not_count_and_is_reaped_by_the_next_acquire(leases):
    lost, _ = leases.acquire("lost")
    leases.let_expire("lost")
    assert leases.live() == {}
    assert leases.stored() == {lost: 1}
    leases.acquire("next", endpoints=(lost,))
    assert leases.stored() == leases.live() == {lost: 1}
    assert leases.release("lost") == 0


def test_a_lease_expires_by_the_servers_clock(leases, database):
    leases.acquire("short", ttl_ms=30)
    ((_, expiry_ms),) = database.zrange(EXPIRIES, 0, -1, withscores=True)
    seconds, microseconds = database.time()
    assert 0 <= expiry_ms - (seconds * 1000 + microseconds // 1000) <= 30 or leases.live() == {}
    deadline = time.monotonic() + 5
    while leases.live():
        assert time.monotonic() < deadline


def test_reaping_is_bounded_per_call(leases):
    names = [f"lease-{i}" for i in range(100)]
    for name in names:
        leases.acquire(name, endpoints=("a:1",))
    leases.let_expire(*names)
    assert leases.acquire("next", endpoints=("a:1",))[1] == 100 - 64 + 1
    assert leases.acquire("after", endpoints=("a:1",))[1] == 2


def test_a_renewed_lease_does_not_expire(leases, database):
    endpoint, _ = leases.acquire("long", ttl_ms=1000)
    before = database.zscore(EXPIRIES, "long")
    assert leases.renew(("long", endpoint)) == 0
    assert database.zscore(EXPIRIES, "long") > before + 50_000
    assert leases.stored() == {endpoint: 1}


def test_a_renewal_keeps_the_weight(leases):
    endpoint, _ = leases.acquire("heavy", weight=5)
    leases.renew(("heavy", endpoint))  # says weight 1
    assert leases.live() == leases.stored() == {endpoint: 5}


def test_a_lease_that_was_lost_is_taken_again_by_its_renewal(leases, database):
    endpoint, _ = leases.acquire("long")
    database.flushall()
    assert leases.renew(("long", endpoint)) == 1
    assert leases.live() == {endpoint: 1}
    leases.release("long")
    assert leases.is_empty()


@pytest.mark.shows("defect 3")
def test_an_endpoint_that_left_and_returns_is_not_negative(leases):
    leases.acquire("one", endpoints=("a:1",))
    leases.acquire("two", endpoints=("b:1",))  # a:1 has left the list
    leases.release("one")
    assert leases.acquire("three", endpoints=("a:1",)) == ("a:1", 1)


def test_many_endpoints(leases):
    endpoints = tuple(f"10.0.{i // 256}.{i % 256}:80" for i in range(1024))
    assert {leases.acquire(f"lease-{i}", endpoints=endpoints)[1] for i in range(10)} == {1}


def test_endpoints_with_any_spelling(leases):
    for lease, endpoint in enumerate(["[::1]:80", "a b:1", "%d:%s", "ü:1"]):
        assert leases.acquire(f"{lease}", endpoints=(endpoint,)) == (endpoint, 1)
        assert leases.release(f"{lease}") == 1


def test_abandoned_keys_go_away_by_themselves(leases, database):
    leases.acquire("one")
    assert all(0 < database.pttl(key) <= 86_400_000 for key in KEYS)


@pytest.mark.shows("defect 5")
def test_all_keys_of_a_scope_are_in_one_slot():
    for route, cluster in [(b"r", b"c"), (b"}r", b"c"), (b"a}b", b"{c}"), (b"", b"c"), ("ü".encode(), b"c")]:
        assert len({key_slot(key) for key in in_flight_keys(route, cluster)}) == 1
    assert in_flight_keys(b"r", b"c") != in_flight_keys(b"r2", b"c")


def test_the_first_source_of_every_script_is_its_contract():
    named = {name: value for name, value in vars(scripts).items() if isinstance(value, RedisScript)}
    assert set(named) >= {"ACQUIRE", "ACQUIRE_BOUNDED", "CLUSTER_ACQUIRE", "LIVE_COUNTS", "RELEASE", "RENEW"}
    for script in named.values():
        source = str(script.by_source[1])
        assert "KEYS[1]" in source.split("\nlocal ")[0].split("\n-- Included")[0]
        assert "-- include " not in source


@pytest.mark.parametrize("seed", range(5))
def test_counts_equal_a_model_after_any_history(leases, seed):
    """Random acquires, releases (also twice, also of leases that never were), expiries and losses of the server."""
    chance = random.Random(seed)
    model: dict[str, str] = {}
    known: list[str] = []
    for step in range(300):
        action = chance.choice(["acquire"] * 4 + ["release"] * 3 + ["expire", "renew"])
        if action == "acquire":
            endpoints = tuple(chance.sample(ENDPOINTS, chance.randint(1, 3)))
            counts = Counter(model.values())
            endpoint, count = leases.acquire(f"lease-{step}", endpoints=endpoints)
            assert counts[endpoint] == min(counts[e] for e in endpoints)
            assert count == counts[endpoint] + 1
            model[f"lease-{step}"] = endpoint
            known.append(f"lease-{step}")
        elif action == "release" and known:
            lease = chance.choice(known)
            assert leases.release(lease) == (lease in model)
            model.pop(lease, None)
        elif action == "expire" and model:
            lease = chance.choice(list(model))
            leases.let_expire(lease)
            del model[lease]
            leases.acquire("reaper", endpoints=("z:1",))  # so that the stored counts follow at once
            leases.release("reaper")
        elif action == "renew" and model:
            leases.renew(*model.items())
        assert leases.live() == dict(Counter(model.values()))
        assert all(count > 0 for count in leases.stored().values())
    leases.release(*model)
    assert leases.live() == leases.stored() == {}
