"""prefix_cache: the decisions, and prefix_acquire.lua by its contract; the pure rule is the script's model."""

import random
from collections import Counter

import pytest
from ai_load_balancer.policies.decision import Rejected
from ai_load_balancer.policies.handicaps import NONE, OWNER_FAILURES, Handicap, encoded
from ai_load_balancer.policies.prefix_cache import MAX_OWNERS, RoutedByPrefix, choose, record
from ai_load_balancer.scripts import LIVE_COUNTS, RELEASE, in_flight_keys, prefix_acquire, prefix_key_prefix
from redis.crc import key_slot

from tests.redis_servers import memory_redis_client

from .fairness import assert_uniform
from .random_handicaps import random_handicaps

ROUTE, CLUSTER = b"route", b"outbound|80||llm.dns"
KEYS = in_flight_keys(ROUTE, CLUSTER)
PREFIX = prefix_key_prefix(ROUTE, CLUSTER)
ENDPOINTS = ("a:1", "b:1", "c:1")
BLOCK_TTL_MS = 1_800_000


@pytest.mark.parametrize(
    ("owners", "in_flight", "expected"),
    [
        ([["a:1"], ["b:1"], []], (0, 5, 0), RoutedByPrefix("b:1", 6, 2)),  # the longest, whatever the load
        ([["a:1"], ["gone:1"]], (5, 0, 0), RoutedByPrefix("a:1", 6, 1)),
        ([[], [], ["c:1"]], (0, 0, 1), RoutedByPrefix("c:1", 2, 3)),  # shorter ones may have expired
        ([["a:1", "b:1", "gone:1"]], (2, 1, 0), RoutedByPrefix("b:1", 2, 1)),
        ([["gone:1"], []], (1, 0, 1), RoutedByPrefix("b:1", 1, 0)),
        ([], (1, 0, 1), RoutedByPrefix("b:1", 1, 0)),
    ],
)
def test_the_longest_prefix_with_a_living_owner_wins(owners, in_flight, expected):
    assert all(choose(owners, ENDPOINTS, in_flight, 0, number) == expected for number in range(20))


def test_an_owner_that_fails_counts_as_none():
    failing = {"a:1": Handicap(1.0, OWNER_FAILURES)}
    assert choose([["a:1"]], ENDPOINTS, (0, 0, 1), 0, 0, failing) == RoutedByPrefix("b:1", 1, 0)
    assert choose([["a:1", "c:1"]], ENDPOINTS, (0, 0, 1), 0, 0, failing) == RoutedByPrefix("c:1", 2, 1)
    assert choose([["c:1"], ["a:1"]], ENDPOINTS, (0, 0, 1), 0, 0, failing) == RoutedByPrefix("b:1", 1, 0)
    fewer = {"a:1": Handicap(1.0, OWNER_FAILURES - 1)}
    assert choose([["a:1"]], ENDPOINTS, (0, 0, 1), 0, 0, fewer) == RoutedByPrefix("a:1", 1, 1)


def test_of_several_owners_the_one_with_the_lowest_load_is_taken():
    starting = {"a:1": Handicap(0.25, 0)}
    assert choose([["a:1", "b:1"]], ENDPOINTS, (0, 2, 0), 0, 0, starting) == RoutedByPrefix("b:1", 3, 1)
    assert choose([["a:1", "b:1"]], ENDPOINTS, (0, 4, 0), 0, 0, starting) == RoutedByPrefix("a:1", 1, 1)


def test_an_owner_without_room_counts_as_none():
    assert choose([["a:1"]], ENDPOINTS, (2, 1, 0), 2, 0) == RoutedByPrefix("c:1", 1, 0)
    assert choose([["a:1"]], ENDPOINTS, (2, 2, 2), 2, 0) == Rejected(2)


def test_a_block_is_recorded_for_who_got_the_prompt():
    assert record([], ENDPOINTS, "a:1") == ["a:1"]
    assert record(["b:1", "a:1"], ENDPOINTS, "a:1") == ["b:1", "a:1"]
    assert record(["b:1"], ENDPOINTS, "a:1") == ["a:1", "b:1"]
    assert record(["gone:1", "a:1", "b:1"], ENDPOINTS, "b:1") == ["b:1", "a:1"]
    assert len(record([f"{i}" for i in range(9)], [f"{i}" for i in range(9)] + ["a:1"], "a:1")) == MAX_OWNERS


class Index:
    """The script as a function; blocks are named by single letters."""

    def __init__(self, database):
        self.database = database
        self.numbers = random.Random(0)
        self.leases = 0

    def acquire(self, blocks, endpoints=ENDPOINTS, limit=0, number=None, handicaps=NONE):
        """(the endpoint or None, its count, how many blocks it knew)"""
        self.leases += 1
        number = self.numbers.getrandbits(31) if number is None else number
        keys = [PREFIX + block.encode() for block in blocks]
        command = (*prefix_acquire(len(keys)).by_source, *KEYS, *keys)
        command += (1, 60_000, limit, 0, BLOCK_TTL_MS, encoded(endpoints, handicaps), f"lease-{self.leases}", number)
        position, count, matched = self.database.execute_command(*command, *endpoints)
        return (endpoints[position - 1] if position else None), count, matched

    def release(self, *numbers):
        self.database.execute_command(*RELEASE.by_source, *KEYS, *(f"lease-{number}" for number in numbers))

    def live(self):
        reply = self.database.execute_command(*LIVE_COUNTS.by_source, *KEYS)
        return {reply[i].decode(): reply[i + 1] for i in range(0, len(reply), 2)}

    def owners(self, block):
        value = self.database.get(PREFIX + block.encode())
        return value.decode().split("\n") if value else []


@pytest.fixture(params=["real", "memory"])
def index(request):
    if request.param == "real":
        yield Index(request.getfixturevalue("real_database"))
    else:
        with memory_redis_client() as client:
            yield Index(client)


def test_a_prompt_returns_to_who_knows_it(index):
    first, count, matched = index.acquire("AB")
    assert (count, matched) == (1, 0)
    assert [index.acquire("ABCD") for _ in range(3)] == [(first, 2, 2), (first, 3, 4), (first, 4, 4)]
    assert index.acquire("AX")[0::2] == (first, 1)
    assert index.live() == {first: 5}


def test_an_unknown_prompt_goes_to_the_least_loaded(index):
    taken = [index.acquire(block)[0] for block in "ABC"]
    assert sorted(taken) == sorted(ENDPOINTS)


def test_the_longest_known_prefix_wins_even_if_shorter_ones_expired(index):
    first, _, _ = index.acquire("ABC")
    for block in "AB":
        index.database.delete(PREFIX + block.encode())
    assert index.acquire("ABCD")[0::2] == (first, 3)
    assert index.owners("A") == index.owners("D") == [first]


@pytest.mark.shows("defect 7")
def test_an_owner_that_is_gone_is_repaired_in_the_same_call(index):
    gone, _, _ = index.acquire("ABC")
    others = tuple(endpoint for endpoint in ENDPOINTS if endpoint != gone)
    new, _, matched = index.acquire("ABD", endpoints=others)
    assert new in others
    assert matched == 0
    assert index.owners("A") == index.owners("B") == index.owners("D") == [new]
    assert index.owners("C") == [gone]  # not of this prompt
    assert index.acquire("AB", endpoints=ENDPOINTS)[0::2] == (new, 2)


def test_a_block_may_have_several_owners_and_the_least_loaded_is_taken(index):
    index.database.set(PREFIX + b"A", "a:1\nb:1")
    drawn = Counter(index.acquire("A")[0] for _ in range(20))
    assert drawn == {"a:1": 10, "b:1": 10}
    assert index.owners("A") == ["a:1", "b:1"]


def test_an_owner_without_room_is_passed_over_and_another_is_added(index):
    first, _, _ = index.acquire("A", limit=1)
    second, count, matched = index.acquire("A", limit=1)
    assert second != first
    assert (count, matched) == (1, 0)
    assert index.owners("A") == [second, first]
    third, _, _ = index.acquire("A", limit=1)
    assert index.owners("A") == [third, second, first]
    assert index.acquire("AB", limit=1) == (None, 1, 0)
    assert index.owners("B") == []


def test_the_number_of_owners_is_bounded(index):
    endpoints = tuple(f"{i}:1" for i in range(8))
    for _ in endpoints:
        index.acquire("A", endpoints=endpoints, limit=1)
    assert len(index.owners("A")) == MAX_OWNERS


def test_an_expired_lease_does_not_count(index):
    first, _, _ = index.acquire("A")
    index.database.zadd(KEYS[2], {"lease-1": 1})
    assert index.acquire("A") == (first, 1, 1)


@pytest.mark.shows("key lb_config.redisKeyTTL")
def test_blocks_expire_and_a_hit_renews_them(index):
    index.acquire("AB")
    assert all(0 < index.database.pttl(PREFIX + block) <= BLOCK_TTL_MS for block in (b"A", b"B"))
    for block in (b"A", b"B"):
        index.database.pexpire(PREFIX + block, 60_000)
    index.acquire("ABC")
    assert all(index.database.pttl(PREFIX + block) > 60_000 for block in (b"A", b"B", b"C"))


def test_renewals_are_bounded(index):
    blocks = [chr(0x100 + i) for i in range(100)]
    index.acquire(blocks)
    for block in blocks:
        index.database.pexpire(PREFIX + block.encode(), 60_000)
    index.acquire(blocks[:90])
    renewed = [index.database.pttl(PREFIX + block.encode()) > 60_000 for block in blocks]
    assert renewed == [True] * 16 + [False] * 58 + [True] * 16 + [False] * 10


@pytest.mark.shows("defect 8")
def test_ties_are_uniform(index):
    drawn = []
    for i in range(3000):
        drawn.append(index.acquire([f"block {i}"])[0])
        index.release(i + 1)
    assert_uniform(drawn, ENDPOINTS)


def test_ties_of_owners_are_uniform(index):
    index.database.set(PREFIX + b"A", "\n".join(ENDPOINTS))
    drawn = []
    for i in range(3000):
        drawn.append(index.acquire("A")[0])
        index.release(i + 1)
    assert_uniform(drawn, ENDPOINTS)


def test_many_blocks_and_many_endpoints(index):
    endpoints = tuple(f"10.0.{i // 256}.{i % 256}:80" for i in range(1024))
    blocks = [chr(0x100 + i) for i in range(512)]
    first, _, _ = index.acquire(blocks, endpoints=endpoints)
    assert index.acquire(blocks, endpoints=endpoints) == (first, 2, 512)


@pytest.mark.shows("defect 5")
def test_all_keys_of_a_call_are_in_one_slot():
    keys = [*KEYS, PREFIX + b"\x00}{\xff", PREFIX + b"{x}"]
    assert len({key_slot(key) for key in keys}) == 1


@pytest.mark.parametrize("seed", range(5))
def test_the_script_decides_as_the_pure_rule(index, seed):
    """Random prompts, endpoints that come and go, a limit or handicaps at times, requests that end."""
    chance = random.Random(seed)
    known: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    held: dict[int, str] = {}
    for step in range(200):
        blocks = "".join(chance.sample("ABCDEF", chance.randint(1, 6)))
        endpoints = tuple(chance.sample((*ENDPOINTS, "d:1", "e:1"), chance.randint(1, 5)))
        limit = chance.choice([0, 0, 2])
        number = chance.getrandbits(31)
        handicaps = random_handicaps(chance, endpoints)
        owners = [known.get(block, []) for block in blocks]
        expected = choose(owners, endpoints, [counts[name] for name in endpoints], limit, number, handicaps)
        found = index.acquire(blocks, endpoints, limit, number, handicaps)
        if isinstance(expected, Rejected):
            assert found == (None, expected.lowest_in_flight, 0), (seed, step)
            continue
        assert found == expected, (seed, step)
        counts[expected.endpoint] += 1
        held[index.leases] = expected.endpoint
        for block in blocks:
            known[block] = list(record(known.get(block, []), endpoints, expected.endpoint))
        assert {block: index.owners(block) for block in known} == known, (seed, step)
        while len(held) > 6:
            lease = chance.choice(list(held))
            counts[held.pop(lease)] -= 1
            index.release(lease)
    assert index.live() == {endpoint: count for endpoint, count in counts.items() if count}
