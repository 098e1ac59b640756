"""Who knows which prefix, in shared data: found by bisection, forgotten in time, in bounded room."""

from hashlib import blake2b

import pytest
from ai_load_balancer import local_prefixes
from ai_load_balancer.local_prefixes import MAX_WRITTEN, SLOTS, LocalPrefixes
from ai_load_balancer.policies.prefix_cache import MAX_OWNERS
from hypothesis import given, settings
from hypothesis import strategies as st

from .shared_data_host import shared_data_host

ENDPOINTS = ("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
A, B, C = ENDPOINTS
TTL_S = 1800
TTL_MS = TTL_S * 1000
NOW_MS = 1_700_000_000_000


def prompt(size, name="a", branch=None):
    """The keys of a prompt's blocks; after `branch` blocks it goes on in another way."""
    return [
        b"prefix:"
        + blake2b(f"{name if branch is None or i < branch else 'other'} {i}".encode(), digest_size=16).digest()
        for i in range(size)
    ]


class Index:
    def __init__(self, monkeypatch):
        self.host = shared_data_host(monkeypatch)
        self.prefixes = LocalPrefixes(TTL_S)
        self.now_ms = NOW_MS

    def found(self, blocks):
        """(how many blocks are known, who owns the last of them)"""
        owners = self.prefixes.owners(blocks, self.now_ms)
        return len(owners), list(owners[-1]) if owners else []

    def record(self, blocks, endpoint, matched=0, endpoints=ENDPOINTS):
        self.prefixes.record(blocks, endpoints, endpoint, matched, self.now_ms)

    def use(self, blocks, endpoint):
        """As a request does; returns how many blocks were known."""
        matched = self.found(blocks)[0]
        self.record(blocks, endpoint, matched)
        return matched


@pytest.fixture
def index(monkeypatch):
    return Index(monkeypatch)


def test_nothing_is_known_at_first(index):
    assert index.found(prompt(5)) == (0, [])
    assert index.found([]) == (0, [])


@pytest.mark.parametrize("known", [1, 2, 3, 7, 31, 64])
@pytest.mark.parametrize("more", [0, 1, 2, 100])
def test_the_end_of_the_known_part_is_found(index, known, more):
    index.record(prompt(known), B)
    assert index.found(prompt(known + more)) == (known, [B])


@settings(deadline=None)
@given(known=st.integers(0, MAX_WRITTEN), size=st.integers(0, 512), branch=st.integers(0, 512))
def test_any_prompt_that_begins_alike_is_found_as_far_as_it_does(known, size, branch):
    with pytest.MonkeyPatch.context() as monkeypatch:
        index = Index(monkeypatch)
        index.record(prompt(known), A)
        common = min(known, size, branch)
        assert index.found(prompt(size, branch=branch)) == (common, [A] if common else [])
        assert index.host.reads <= known + (size + 1).bit_length() + 1


def test_all_but_the_last_known_blocks_are_told_as_empty(index):
    index.record(prompt(3), B)
    assert [list(owners) for owners in index.prefixes.owners(prompt(5), NOW_MS)] == [[], [], [B]]


def test_a_second_owner_comes_first(index):
    index.record(prompt(2), A)
    index.record(prompt(3), B, matched=2)
    assert index.found(prompt(2)) == (2, [B, A])
    assert index.found(prompt(3)) == (3, [B])
    assert index.found(prompt(1)) == (1, [A])


def test_owners_that_are_gone_are_dropped_and_the_number_is_bounded(index):
    index.record(prompt(1), A)
    index.record(prompt(1), B, endpoints=(B, C))
    assert index.found(prompt(1)) == (1, [B])
    many = [f"10.0.1.{i}:80" for i in range(10)]
    for endpoint in many:
        index.record(prompt(1), endpoint, endpoints=many)
    assert index.found(prompt(1)) == (1, many[: -MAX_OWNERS - 1 : -1])


def test_a_prefix_is_forgotten_when_it_was_not_used(index):
    index.record(prompt(4), A)
    index.now_ms += TTL_MS - 1000
    assert index.found(prompt(4)) == (4, [A])
    index.now_ms += 1000
    assert index.found(prompt(4)) == (0, [])


@pytest.mark.parametrize("size", [1, 5, 60])
def test_a_prefix_that_is_used_stays(index, size):
    index.use(prompt(size), A)
    for _ in range(10):
        index.now_ms += TTL_MS // 3
        assert index.use(prompt(size), A) == size


def test_a_conversation_that_grows_stays(index):
    """Its beginning is older than the time to live in the end."""
    index.use(prompt(2), A)
    for turn in range(2, 30):
        index.now_ms += TTL_MS // 10
        assert index.use(prompt(2 * turn), A) == 2 * turn - 2


def test_writes_are_bounded_and_a_long_prompt_becomes_known_by_and_by(index):
    blocks = prompt(150)
    assert index.use(blocks, A) == 0
    assert index.host.writes == MAX_WRITTEN
    assert index.use(blocks, A) == MAX_WRITTEN
    assert index.host.writes == 2 * MAX_WRITTEN
    assert index.use(blocks, A) == 2 * MAX_WRITTEN - 1
    assert index.found(blocks) == (150, [A])


def test_a_renewal_of_all_blocks_is_rare(index):
    index.use(prompt(50), A)
    writes = index.host.writes
    for _ in range(5):
        index.now_ms += 1000
        index.use(prompt(50), A)
    assert index.host.writes == writes + 5


def test_blocks_that_share_a_slot_are_not_mixed_up(index, monkeypatch):
    monkeypatch.setattr(local_prefixes, "SLOTS", 1)
    index.record(prompt(1, "one"), A)
    assert index.found(prompt(1, "two")) == (0, [])
    index.record(prompt(1, "two"), B)
    assert index.found(prompt(1, "two")) == (1, [B])
    assert index.found(prompt(1, "one")) == (0, [])


def test_the_room_is_bounded(index, monkeypatch):
    monkeypatch.setattr(local_prefixes, "SLOTS", 100)
    for i in range(20):
        index.record(prompt(60, f"prompt {i}"), A)
    assert len(index.host.items()) <= 100
    assert max(map(len, index.host.items().values())) < 200
    assert SLOTS * 200 < 4 * 2**20


@pytest.mark.parametrize("value", [b"", b"x", b"\0" * 20, b"\xff" * 100])
def test_a_value_that_is_not_ours_is_nothing(index, value):
    index.record(prompt(1), A)
    (key,) = index.host.items()
    index.host.data.set(b"vm", key, value, 0)
    assert index.found(prompt(1)) == (0, [])
    index.record(prompt(1), B)
    assert index.found(prompt(1)) == (1, [B])
