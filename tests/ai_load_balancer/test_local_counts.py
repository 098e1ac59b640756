"""The counts of a gateway's workers in shared data: they add up, heal, and never stand in a request's way."""

from collections import Counter

import pytest
from ai_load_balancer.local_counts import LocalCounts
from ai_load_balancer.policies.decision import Rejected, Routed
from ai_load_balancer.policies.global_least_request import choose
from hypothesis import given, settings
from hypothesis import strategies as st
from proxywasm import clock
from proxywasm.enums import Status
from proxywasm.errors import InternalFailure

from .shared_data_host import SharedDataHost, shared_data_host

KEY = b"ailb:{route|llm}:in_flight"
ENDPOINTS = ("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
TTL_MS = 3000
START_MS = 1_700_000_000_000
ALWAYS = 1_000_000


class Workers:
    """Some workers of one gateway, and the clock that all of them see."""

    def __init__(self, monkeypatch, number=2):
        self.host: SharedDataHost = shared_data_host(monkeypatch)
        self.now_ms = START_MS
        monkeypatch.setattr(clock, "now_ns", lambda: self.now_ms * 1_000_000)
        self.workers = [self.new(i) for i in range(number)]

    def new(self, i):
        return LocalCounts(KEY, b"worker-%d" % i, TTL_MS)

    def take(self, i, endpoints=ENDPOINTS, limit=0):
        """The decision of the i-th worker; of equals the first."""
        return self.workers[i].take(endpoints, self.now_ms, lambda counts: choose(endpoints, counts, limit, 0))

    def seen(self, i, endpoints=ENDPOINTS):
        """What the i-th worker would decide by; nothing is counted."""
        seen = []

        def look(counts):
            seen.append(list(counts))
            return Rejected(0)

        self.workers[i].take(endpoints, self.now_ms, look)
        return seen[-1]

    def tick(self, is_needed=True):
        for worker in self.workers:
            worker.on_tick(self.now_ms, is_needed)


@pytest.fixture
def two(monkeypatch):
    return Workers(monkeypatch)


def test_workers_share_their_counts(two):
    assert [two.take(i % 2) for i in range(4)] == [
        Routed(ENDPOINTS[0], 1), Routed(ENDPOINTS[1], 1), Routed(ENDPOINTS[2], 1), Routed(ENDPOINTS[0], 2),
    ]  # fmt: skip
    assert two.seen(0) == two.seen(1) == [2, 1, 1]
    two.workers[0].remove(ENDPOINTS[0])
    assert two.seen(1) == [1, 1, 1]
    two.workers[1].remove(ENDPOINTS[0])
    assert two.seen(0) == [0, 1, 1]


def test_the_limit_is_for_all_workers_and_a_rejected_request_is_not_counted(two):
    for i in range(3):
        assert isinstance(two.take(i % 2, limit=1), Routed)
    assert two.take(0, limit=1) == Rejected(1)
    assert two.seen(1) == [1, 1, 1]
    two.workers[1].remove(ENDPOINTS[1])
    assert two.take(0, limit=1) == Routed(ENDPOINTS[1], 1)


def test_what_somebody_else_routed_is_known_here_but_not_posted(two):
    two.workers[0].add(ENDPOINTS[0])
    assert two.host.writes == 0
    assert two.take(0) == Routed(ENDPOINTS[1], 1)
    assert two.seen(1) == [1, 1, 0]
    two.workers[0].remove(ENDPOINTS[0])
    two.workers[0].remove(ENDPOINTS[1])
    assert two.workers[0].is_idle
    assert two.seen(1) == [0, 0, 0]


def test_what_a_dead_worker_has_posted_expires(two):
    two.take(0)
    for _ in range(3):
        two.take(1)
    assert two.seen(1) == [2, 1, 1]
    for _ in range(3):  # only the second one lives
        two.now_ms += TTL_MS // 3
        two.workers[1].on_tick(two.now_ms, is_needed=True)
    assert two.seen(1) == [1, 1, 1]


def test_a_living_worker_renews_what_it_has_posted(two):
    two.take(0)
    for _ in range(10):
        two.now_ms += TTL_MS // 3
        two.tick()
    assert two.seen(1) == [1, 0, 0]


def test_a_board_that_is_not_needed_is_left_alone_by_the_tick(two):
    two.workers[0].add(ENDPOINTS[0])
    two.tick()
    assert two.host.reads == two.host.writes == 0


def test_counts_are_withdrawn_when_somebody_else_decides_again(two):
    two.take(0)
    two.tick(is_needed=False)
    assert two.seen(1) == [0, 0, 0]
    assert not two.workers[0].is_idle
    writes = two.host.writes
    two.tick(is_needed=False)
    assert two.host.writes == writes + 1  # the other one's, which has looked


def test_a_worker_knows_its_own_counts_after_it_has_withdrawn_them(two):
    assert two.take(0) == Routed(ENDPOINTS[0], 1)
    two.tick(is_needed=False)
    assert two.take(0) == Routed(ENDPOINTS[1], 1)
    assert two.seen(1) == [1, 1, 0]


def test_an_idle_worker_goes_off_the_board(two):
    two.take(0)
    two.workers[0].remove(ENDPOINTS[0])
    two.tick()
    writes = two.host.writes
    for _ in range(5):
        two.now_ms += TTL_MS
        two.tick()
    assert two.host.writes == writes


def test_when_endpoints_change_requests_still_count_where_they_are(two):
    for _ in range(4):
        two.take(0)  # 2, 1, 1
    fewer = (ENDPOINTS[0], ENDPOINTS[2])
    assert two.seen(0, fewer) == [2, 1]
    assert two.take(0, fewer) == Routed(ENDPOINTS[2], 2)
    two.workers[0].remove(ENDPOINTS[1])  # it is gone, and so is its request
    assert two.seen(0, (*ENDPOINTS, "10.0.0.4:80")) == [2, 0, 2, 0]
    for endpoint in (ENDPOINTS[0], ENDPOINTS[0], ENDPOINTS[2], ENDPOINTS[2]):
        two.workers[0].remove(endpoint)
    assert two.workers[0].is_idle
    assert two.seen(0) == [0, 0, 0]


def test_workers_with_other_endpoints_for_a_moment_find_together_again(two):
    two.take(0)
    fewer = ENDPOINTS[:2]
    two.take(1, fewer)  # begins the board anew
    two.workers[0].remove(ENDPOINTS[0])  # does not disturb it
    assert two.seen(1, fewer) == [1, 0]
    assert two.take(0, fewer) == Routed(ENDPOINTS[1], 1)
    assert two.seen(1, fewer) == [1, 1]


def test_a_worker_whose_section_was_lost_with_the_board_knows_its_own_counts(two):
    two.take(0)
    two.take(1, ENDPOINTS[:2])
    two.take(1)  # the board of all endpoints again, but the first worker is not on it
    assert two.seen(0) == two.seen(1) == [2, 1, 0]


@pytest.mark.parametrize("status", [Status.CAS_MISMATCH, Status.INTERNAL_FAILURE])
def test_a_request_is_routed_even_if_the_board_cannot_be_written(two, status):
    two.take(1)
    two.host.status, two.host.refusals = status, ALWAYS
    assert two.take(0) == Routed(ENDPOINTS[1], 1)
    two.workers[1].remove(ENDPOINTS[0])
    two.tick()
    assert two.host.refusals < ALWAYS
    two.host.refusals = 0
    two.tick()
    assert two.seen(0) == two.seen(1) == [0, 1, 0]


def test_a_request_is_routed_even_if_the_board_cannot_be_read(two, monkeypatch):
    two.workers[0].add(ENDPOINTS[0])

    def refuse(_):
        raise InternalFailure("proxy_get_shared_data", Status.INTERNAL_FAILURE)

    monkeypatch.setattr(two.host, "get_shared_data", refuse)
    assert two.take(0) == Routed(ENDPOINTS[1], 1)
    two.workers[0].remove(ENDPOINTS[1])
    two.tick()


def test_tries_are_bounded(two):
    two.host.refusals = ALWAYS
    two.take(0)
    assert ALWAYS - two.host.refusals == 16
    assert two.host.reads == 16


@pytest.mark.parametrize("value", [b"", b"x", b"\xff what is this", b"\0" * 500])
def test_a_value_that_is_not_ours_is_replaced(two, value):
    two.host.data.set(b"vm", KEY, value, 0)
    assert two.take(0) == Routed(ENDPOINTS[0], 1)
    assert two.seen(1) == [1, 0, 0]


def test_the_value_is_bounded(two):
    for i in range(1100):  # workers that came and died
        two.workers[0] = two.new(1000 + i)
        two.take(0)
    assert len(two.host.items()[KEY]) <= 8 + 1024 * (8 + 8 + 4 * len(ENDPOINTS))


operations = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "add", "remove", "remove", "tick", "withdraw", "refuse", "wait"]),
        st.integers(0, 2),
        st.integers(0, 20),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(operations)
def test_after_any_history_the_board_says_what_is_in_flight(steps):
    with pytest.MonkeyPatch.context() as monkeypatch:
        all_of = Workers(monkeypatch, number=3)
        held: list[list[str]] = [[], [], []]
        for what, i, number in steps:
            if what == "take":
                held[i].append(all_of.take(i).endpoint)
            elif what == "add":
                endpoint = ENDPOINTS[number % 3]
                all_of.workers[i].add(endpoint)
                held[i].append(endpoint)
            elif what == "remove" and held[i]:
                all_of.workers[i].remove(held[i].pop(number % len(held[i])))
            elif what in ("tick", "withdraw"):
                all_of.tick(is_needed=what == "tick")
            elif what == "refuse":
                all_of.host.refusals = number
            elif what == "wait":
                all_of.now_ms += 500
                all_of.tick()
        all_of.host.refusals = 0
        for i in range(3):
            all_of.seen(i)  # whoever decides tells what it has
        counts = Counter(endpoint for one in held for endpoint in one)
        assert all_of.seen(0) == [counts[endpoint] for endpoint in ENDPOINTS]
        assert [worker.is_idle for worker in all_of.workers] == [not one for one in held]
