"""The pure decisions of cluster_metrics, and the statistics that the workers of a gateway share."""

import random
from collections import Counter

import pytest
from ai_load_balancer.policies import own_in_flight
from ai_load_balancer.policies.cluster_metrics import Verdict, least_busy, statistics_key, verdict
from ai_load_balancer.policies.count_board import MAX_WORKERS, SECTION_TTL_MS, CountBoard
from ai_load_balancer.policies.handicaps import FAILURE_HOLD_MS
from ai_load_balancer.policies.latency_window import (
    MAX_SAMPLE_MS,
    PROBE_EVERY,
    PROBE_INTERVAL_MS,
    LatencyWindows,
)
from ai_load_balancer.policies.lowest import lowest
from ai_load_balancer.policies.own_in_flight import OwnInFlight
from ai_load_balancer.policies.recent_picks import RecentPicks
from ai_load_balancer.policies.value import Value
from hypothesis import given
from hypothesis import strategies as st

from .fairness import assert_uniform

NOW_MS = 1_800_000_000_000
WORKER, OTHER = b"worker-1", b"worker-2"


@pytest.mark.parametrize(("values", "expected"), [((2, 1, 2), {1}), ((1, 2, 1), {0, 2}), ((0.5,), {0})])
def test_the_lowest_is_taken_and_equals_are_drawn(values, expected):
    assert {lowest(values, number) for number in range(100)} == expected


@pytest.mark.parametrize("size", [2, 3, 16])
def test_equals_are_drawn_uniformly(size):
    numbers = random.Random(size)
    values = [2, *[1] * size, 3]
    assert_uniform([lowest(values, numbers.getrandbits(31)) for _ in range(3000)], range(1, size + 1))


@pytest.mark.parametrize(
    ("in_flight", "among", "expected"),
    [
        ((3, 1, 2), range(3), 1),
        ((3, 1, 2), [0, 2], 2),  # the least busy one has reached the limit
        ((3, 1, 2), [0], 0),
    ],
)
def test_least_busy(in_flight, among, expected):
    assert all(least_busy(in_flight, among, number) == expected for number in range(10))


def test_least_busy_draws_equals_uniformly_among_those_that_are_left():
    numbers = random.Random(5)
    picks = [least_busy((0, 1, 0, 1, 0), [1, 2, 3, 4], numbers.getrandbits(31)) for _ in range(3000)]
    assert_uniform(picks, [2, 4])


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("200", Verdict.SUCCESS),
        ("201", Verdict.SUCCESS),
        ("204", Verdict.SUCCESS),
        ("299", Verdict.SUCCESS),
        ("429", Verdict.FAILURE),
        ("503", Verdict.FAILURE),
        ("302", Verdict.FAILURE),
        ("", Verdict.FAILURE),
        ("2", Verdict.FAILURE),
        ("2000", Verdict.FAILURE),
        (None, Verdict.ABORTED),
    ],
)
def test_any_2xx_is_a_success_and_no_response_is_an_abort(status, expected):
    assert verdict(status) is expected


def test_statistics_of_another_configuration_have_another_key():
    keys = [
        statistics_key("in_flight", ("a", "b"), 100),
        statistics_key("in_flight", ("a", "b"), 99),
        statistics_key("in_flight", ("b", "a"), 100),
        statistics_key("in_flight", ("a b",), 100),
        statistics_key("latency", ("a", "b"), 100),
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == b"ailb:{cluster_metrics|a8818af71b83f1f0}:in_flight"  # the same in every build


# --- rate_limit


def picked(picks, *positions):
    value = picks.empty
    for position in positions:
        value = picks.with_pick(value, position)
    return value


@pytest.mark.parametrize("offset", [b"", b"statistics"])
def test_a_service_at_its_limit_is_left_out(offset):
    for rate_limit, below in ((0.6, [1, 2]), (0.61, [0, 1, 2])):  # 0 has 3 of 5
        picks = RecentPicks(3, 100, rate_limit)
        value = picked(picks, 0, 0, 1, 0, 2) + offset
        assert picks.below_limit(value) == below
        assert [picks.is_at_limit(value, position) for position in range(3)] == [i not in below for i in range(3)]
        assert picks.share(value, 0) == 0.6
        assert picks.with_pick(value, 1).endswith(offset)


@pytest.mark.parametrize(("positions", "rate_limit"), [((), 0.5), ((0, 1, 2), 0.3), ((0, 1, 2), 0)])
def test_all_are_left_if_all_have_reached_their_limit(positions, rate_limit):
    picks = RecentPicks(3, 100, rate_limit)
    assert picks.below_limit(picked(picks, *positions)) is None


@given(st.lists(st.integers(0, 4), max_size=50), st.integers(1, 20))
def test_the_picks_are_the_last_ones(positions, window):
    picks = RecentPicks(5, window, 0.5)
    value = picked(picks, *positions)
    assert len(value) == window
    last = positions[-window:]
    for position in range(5):
        assert picks.share(value, position) == last.count(position) / (len(last) or 1)


@pytest.mark.parametrize("seed", range(3))
def test_no_share_exceeds_the_limit_in_the_long_run(seed):
    numbers = random.Random(seed)
    picks = RecentPicks(3, 100, 0.5)
    value = picks.empty
    counts: Counter[int] = Counter()
    for _ in range(1000):
        position = 0  # always the least busy
        if picks.is_at_limit(value, position):
            position = least_busy((0, 1, 2), picks.below_limit(value) or range(3), numbers.getrandbits(31))
        value = picks.with_pick(value, position)
        counts[position] += 1
    assert 450 <= counts[0] <= 500
    assert counts[2] <= 20  # only when both others have exactly one half


# --- in flight, shared by workers


def test_the_counts_of_living_workers_are_summed():
    board = CountBoard(3)
    assert list(board.totals(None, NOW_MS)) == [0, 0, 0]
    first = board.post(None, WORKER, [1, 0, 2], NOW_MS)
    assert list(board.totals(first, NOW_MS)) == [1, 0, 2]
    both = board.post(first, OTHER, [0, 5, 1], NOW_MS + 1)
    assert list(board.totals(both, NOW_MS)) == [1, 5, 3]
    later = board.post(both, WORKER, [0, 0, 1], NOW_MS + 2)
    assert list(board.totals(later, NOW_MS)) == [0, 5, 2]
    assert len(later) == len(both)


def test_what_a_dead_worker_posted_expires_and_is_removed_by_the_next_worker():
    board = CountBoard(2)
    value = board.post(None, OTHER, [7, 7], NOW_MS)
    expired_ms = NOW_MS + SECTION_TTL_MS
    assert list(board.totals(value, expired_ms - 1)) == [7, 7]
    assert list(board.totals(value, expired_ms)) == [0, 0]
    value = board.post(value, WORKER, [1, 0], expired_ms)
    assert list(board.totals(value, expired_ms)) == [1, 0]
    assert len(value) == len(board.post(None, WORKER, [1, 0], NOW_MS))


def test_a_worker_that_was_thought_dead_posts_all_it_has():
    board = CountBoard(2)
    board.post(None, WORKER, [3, 0], NOW_MS)
    value = board.post(None, OTHER, [0, 1], NOW_MS)  # the first one's section is gone
    assert list(board.totals(board.post(value, WORKER, [2, 0], NOW_MS), NOW_MS)) == [2, 1]


def test_a_worker_id_inside_a_section_is_not_one():
    board = CountBoard(2)
    counts = [int.from_bytes(WORKER[:4], "little"), int.from_bytes(WORKER[4:], "little")]
    value = board.post(None, OTHER, counts, NOW_MS)
    value = board.post(value, WORKER, [1, 1], NOW_MS)
    assert list(board.totals(value, NOW_MS)) == [counts[0] + 1, counts[1] + 1]
    value = board.post(value, WORKER, [0, 0], NOW_MS)
    assert list(board.totals(value, NOW_MS)) == counts


@pytest.mark.parametrize("board", [b"x", b"x" * 25, b"\xff" * 23])
def test_a_board_that_is_not_ours_has_no_counts(board):
    two = CountBoard(2)
    assert list(two.totals(board, NOW_MS)) == [0, 0]
    assert list(two.totals(two.post(board, WORKER, [1, 2], NOW_MS), NOW_MS)) == [1, 2]


def test_the_number_of_workers_is_bounded():
    board = CountBoard(1)
    value = None
    for number in range(MAX_WORKERS + 5):
        value = board.post(value, b"%8d" % number, [1], NOW_MS)
    assert list(board.totals(value, NOW_MS)) == [MAX_WORKERS]


@given(st.lists(st.tuples(st.sampled_from([WORKER, OTHER, b"worker-3"]), st.integers(0, 2), st.booleans())))
def test_the_board_equals_a_model(changes):
    board = CountBoard(3)
    model = {WORKER: [0, 0, 0], OTHER: [0, 0, 0], b"worker-3": [0, 0, 0]}
    value = None
    for worker, position, is_start in changes:
        counts = model[worker]
        counts[position] = max(0, counts[position] + (1 if is_start else -1))
        value = board.post(value, worker, counts, NOW_MS)
        assert list(board.totals(value, NOW_MS)) == [sum(column) for column in zip(*model.values(), strict=True)]


def test_a_fast_failure_goes_on_counting():
    own = OwnInFlight(2)
    own.start(0)
    own.fail(0, started_ms=NOW_MS, now_ms=NOW_MS + 5)
    assert own.counts == [1, 0]
    assert not own.release(NOW_MS + FAILURE_HOLD_MS - 1)
    assert own.counts == [1, 0]
    assert own.release(NOW_MS + FAILURE_HOLD_MS)
    assert own.counts == [0, 0]
    assert not own.release(NOW_MS + 2 * FAILURE_HOLD_MS)


def test_a_slow_failure_does_not():
    own = OwnInFlight(1)
    own.start(0)
    own.fail(0, started_ms=NOW_MS, now_ms=NOW_MS + FAILURE_HOLD_MS)
    assert own.counts == [0]


def test_the_failures_that_go_on_counting_are_bounded(monkeypatch):
    monkeypatch.setattr(own_in_flight, "MAX_HELD", 3)
    own = OwnInFlight(1)
    for _ in range(5):
        own.start(0)
        own.fail(0, NOW_MS, NOW_MS)
    assert own.counts == [3]
    assert own.release(NOW_MS + FAILURE_HOLD_MS)
    assert own.counts == [0]


def test_a_service_that_fails_at_once_does_not_attract_the_traffic():
    numbers = random.Random(1)
    own = OwnInFlight(2)
    counts: Counter[int] = Counter()
    in_flight: list[tuple[int, int]] = []  # (end, position) at the healthy service, which takes 1 s
    for now_ms in range(NOW_MS, NOW_MS + 60_000, 100):
        own.release(now_ms)
        while in_flight and in_flight[0][0] <= now_ms:
            own.finish(in_flight.pop(0)[1])
        position = lowest(own.counts, numbers.getrandbits(31))
        counts[position] += 1
        own.start(position)
        if position == 0:
            own.fail(0, now_ms, now_ms)
        else:
            in_flight.append((now_ms + 1000, 1))
    assert counts[0] < counts[1] / 5


# --- latencies

WINDOW = 4


def recorded(windows, *samples):
    value = windows.empty
    for position, latency_ms in samples:
        value = windows.record(value, position, latency_ms, NOW_MS)
    return value


@pytest.mark.shows("key lb_config.queue_size")
def test_the_mean_is_that_of_the_last_samples():
    windows = LatencyWindows(2, WINDOW)
    assert windows.means(windows.empty) == [None, None]
    value = recorded(windows, (0, 10), (0, 20))
    assert windows.means(value) == [15, None]
    value = recorded(windows, *[(0, 1000)] * 3, *[(0, latency) for latency in (1, 2, 3, 6)], (1, 7))
    assert windows.means(value) == [3, 7]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, MAX_SAMPLE_MS)), max_size=30))
def test_means_equal_a_model(samples):
    windows = LatencyWindows(3, WINDOW)
    model: list[list[int]] = [[], [], []]
    value = windows.empty
    for position, latency_ms in samples:
        value = windows.record(value, position, latency_ms, NOW_MS)
        model[position] = [*model[position], latency_ms][-WINDOW:]
    assert windows.means(value) == [sum(last) / len(last) if last else None for last in model]


def test_the_lowest_mean_is_chosen():
    windows = LatencyWindows(3, WINDOW)
    value = recorded(windows, (0, 30), (1, 10), (2, 20))
    assert {windows.choose(value, range(3), NOW_MS, number) for number in range(99)} == {(1, False)}
    assert {windows.choose(value, None, NOW_MS, number) for number in range(99)} == {(1, False)}
    assert {windows.choose(value, [0, 2], NOW_MS, number) for number in range(99)} == {(2, False)}


def test_equal_means_are_drawn_uniformly():
    windows = LatencyWindows(4, WINDOW)
    value = recorded(windows, (0, 10), (1, 20), (2, 10), (3, 10))
    numbers = random.Random(3)
    picks = [windows.choose(value, range(4), NOW_MS, numbers.getrandbits(31))[0] for _ in range(3000)]
    assert_uniform(picks, [0, 2, 3])


def test_services_without_samples_are_drawn_uniformly():
    windows = LatencyWindows(3, WINDOW)
    numbers = random.Random(4)
    picks = [windows.choose(windows.empty, range(3), NOW_MS, numbers.getrandbits(31))[0] for _ in range(3000)]
    assert_uniform(picks, range(3))


def test_a_service_without_samples_is_probed_by_one_request_at_a_time():
    windows = LatencyWindows(2, WINDOW)
    value = recorded(windows, (0, 10))
    assert windows.choose(value, range(2), NOW_MS, 7) == (1, True)
    value = windows.probed(value, 1, NOW_MS)
    assert windows.choose(value, range(2), NOW_MS + PROBE_INTERVAL_MS - 1, 7) == (0, False)
    assert windows.choose(value, range(2), NOW_MS + PROBE_INTERVAL_MS, 7) == (1, True)


def test_at_first_every_service_gets_one_request():
    windows = LatencyWindows(3, WINDOW)
    value = windows.empty
    first = []
    for number in (5, 8, 11):
        pick = windows.choose(value, range(3), NOW_MS, number)
        value = windows.probed(value, pick[0], NOW_MS)
        first.append(pick)
    assert sorted(first) == [(0, True), (1, True), (2, True)]
    assert not windows.choose(value, range(3), NOW_MS, 1)[1]


def test_a_service_that_was_not_tried_for_long_is_probed_now_and_then():
    windows = LatencyWindows(2, WINDOW)
    value = recorded(windows, (0, 10), (1, 1000))
    later_ms = NOW_MS + PROBE_INTERVAL_MS
    value = windows.record(value, 0, 10, later_ms)
    picks = [windows.choose(value, range(2), later_ms, number) for number in range(10 * PROBE_EVERY)]
    assert Counter(picks) == {(1, True): 10, (0, False): 10 * (PROBE_EVERY - 1)}
    value = windows.probed(value, 1, later_ms)
    assert {windows.choose(value, range(2), later_ms, number) for number in range(99)} == {(0, False)}


def test_a_failure_is_worse_than_the_worst_mean_however_fast_it_was():
    windows = LatencyWindows(3, WINDOW)
    value = recorded(windows, (0, 10), (1, 100))
    assert windows.means(windows.record_failure(value, 2, 1, NOW_MS)) == [10, 100, 200]
    assert windows.means(windows.record_failure(value, 2, 500, NOW_MS)) == [10, 100, 1000]
    assert windows.means(windows.record_failure(windows.empty, 2, 3, NOW_MS)) == [None, None, 6]


def test_samples_are_bounded():
    windows = LatencyWindows(1, WINDOW)
    value = windows.empty
    for _ in range(100):
        value = windows.record_failure(value, 0, 10_000, NOW_MS)
    assert windows.means(value) == [MAX_SAMPLE_MS]
    assert windows.means(windows.record(windows.empty, 0, -5, NOW_MS)) == [0]  # the clock was set back


def test_an_abort_tells_something_only_if_it_came_late():
    windows = LatencyWindows(1, WINDOW)
    value = recorded(windows, (0, 100))
    assert windows.record_abort(value, 0, 100, NOW_MS) == value
    assert windows.means(windows.record_abort(value, 0, 300, NOW_MS)) == [200]
    assert windows.means(windows.record_abort(windows.empty, 0, 300, NOW_MS)) == [None]


def test_the_board_may_begin_behind_something_else():
    board, shifted = CountBoard(2), CountBoard(2, offset=3)
    value, behind = b"", b"abc"
    for worker, counts in ((WORKER, (1, 0)), (WORKER, (2, 0)), (OTHER, (0, 3)), (WORKER, (4, 5))):
        value = board.post(value, worker, counts, NOW_MS)
        behind = shifted.post(behind, worker, counts, NOW_MS)
        assert behind == b"abc" + value
        assert list(shifted.totals(behind, NOW_MS)) == list(board.totals(value, NOW_MS))
    assert list(shifted.totals(b"abc", NOW_MS)) == [0, 0]


def test_the_windows_may_begin_behind_something_else():
    windows, shifted = LatencyWindows(2, WINDOW), LatencyWindows(2, WINDOW, offset=3)
    value = windows.empty
    behind: Value = b"abc" + shifted.empty
    for position, latency_ms in ((0, 10), (1, 20), (0, 30)):
        value = windows.record(value, position, latency_ms, NOW_MS)
        behind = shifted.record(behind, position, latency_ms, NOW_MS)
    assert behind == b"abc" + value
    assert shifted.probed(behind, 1, NOW_MS + 5) == b"abc" + windows.probed(value, 1, NOW_MS + 5)
    assert shifted.means(behind) == [20, 20]


def test_the_size_is_bounded_by_the_window():
    windows = LatencyWindows(16, 100)
    value = windows.empty
    for i in range(2000):
        value = windows.record(value, i % 16, i, NOW_MS)
    assert len(value) == 16 * (4 * 8 + 100 * 4)
