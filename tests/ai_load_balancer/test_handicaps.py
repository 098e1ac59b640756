"""Slow start and failures that are held: what makes an endpoint look busier than its count says."""

from math import isclose

import pytest
from ai_load_balancer.policies.handicaps import (
    FAILURE_HOLD_MS,
    MAX_FAILURES,
    MIN_CAPACITY,
    NONE,
    OWNER_FAILURES,
    EndpointHealth,
    Handicap,
    encoded,
    is_avoided,
    is_failure,
    load,
    loads,
)
from hypothesis import given
from hypothesis import strategies as st

A, B, C = ENDPOINTS = ("a:1", "b:1", "c:1")
SLOW_START_MS = 30_000
START_MS = 1_700_000_000_000

handicaps_of_one = st.builds(Handicap, st.floats(MIN_CAPACITY, 1.0), st.integers(0, 100))


def test_without_a_handicap_a_load_is_the_count():
    counts = (3, 0, 7)
    assert loads(ENDPOINTS, counts, NONE) is counts
    assert loads(ENDPOINTS, counts, {B: Handicap(1.0, 2)}) == [3, 2, 7]


def test_half_of_the_capacity_doubles_what_the_next_request_costs():
    assert load(A, 4, {A: Handicap(0.5, 0)}) == 9
    assert load(A, 0, {A: Handicap(0.5, 0)}) == 1
    assert load(A, 0, {A: Handicap(MIN_CAPACITY, 0)}) == 9


@given(st.integers(0, 1000), handicaps_of_one)
def test_a_handicap_never_makes_an_endpoint_look_idler(count, handicap):
    weighed = load(A, count, {A: handicap})
    assert weighed > count or isclose(weighed, count)
    assert load(A, count + 1, {A: handicap}) > weighed


@given(st.dictionaries(st.sampled_from([*ENDPOINTS, "gone:1"]), handicaps_of_one))
def test_what_the_scripts_are_told_names_positions_and_rounds_to_a_thousandth(handicaps):
    found = {}
    for item in encoded(ENDPOINTS, handicaps).split():
        position, told_capacity, told_failures = item.split(":")
        found[ENDPOINTS[int(position) - 1]] = (float(told_capacity), int(told_failures))
    assert found.keys() == handicaps.keys() - {"gone:1"}
    for endpoint, (capacity, failures) in found.items():
        assert 0 < capacity <= 1
        assert abs(capacity - handicaps[endpoint].capacity) <= 0.0005
        assert failures == handicaps[endpoint].failures


def test_the_encoding():
    assert encoded(ENDPOINTS, NONE) == ""
    assert encoded(ENDPOINTS, {C: Handicap(0.25, 0), A: Handicap(1.0, 7)}) == "1:1.000:7 3:0.250:0"


def test_what_a_failing_endpoint_knows_is_no_reason_to_choose_it():
    assert not is_avoided(A, NONE)
    assert not is_avoided(A, {A: Handicap(0.1, OWNER_FAILURES - 1)})
    assert is_avoided(A, {A: Handicap(1.0, OWNER_FAILURES)})


@pytest.mark.parametrize("status", ["429", "500", "503", "599"])
def test_who_is_overloaded_or_broken_fails(status):
    assert is_failure(status)


@pytest.mark.parametrize("status", ["200", "404", "499", "", "5xx", "-500", "²00"])
def test_other_answers_are_no_failures(status):
    assert not is_failure(status)


class TestSlowStart:
    def test_the_first_endpoints_are_old(self):
        assert EndpointHealth(SLOW_START_MS).handicaps(ENDPOINTS, START_MS) == NONE

    @pytest.mark.shows("key lb_config.slow_start_s", "defect 4")
    def test_a_new_endpoint_begins_small_and_comes_to_full_load(self):
        health = EndpointHealth(SLOW_START_MS)
        health.handicaps((A, B), START_MS)
        curve = [
            (after_ms, health.handicaps(ENDPOINTS, START_MS + after_ms).get(C))
            for after_ms in (0, 1500, 3000, 15_000, 24_000, 29_999, 30_000, 31_000)
        ]
        assert [(after_ms, found and round(found.capacity, 3)) for after_ms, found in curve] == [
            (0, MIN_CAPACITY), (1500, MIN_CAPACITY), (3000, 0.1), (15_000, 0.5), (24_000, 0.8), (29_999, 1.0),
            (30_000, None), (31_000, None),
        ]  # fmt: skip

    def test_an_endpoint_that_recovers_starts_anew(self):
        health = EndpointHealth(SLOW_START_MS)
        health.handicaps(ENDPOINTS, START_MS)
        assert health.handicaps((A, B), START_MS + 1) == NONE
        assert health.handicaps((A, B, C), START_MS + 2) == {C: Handicap(MIN_CAPACITY, 0)}

    def test_one_that_goes_while_it_starts_is_forgotten(self):
        health = EndpointHealth(SLOW_START_MS)
        health.handicaps((A, B), START_MS)
        health.handicaps((A, B, C), START_MS)
        assert health.handicaps((A,), START_MS + 1) == NONE

    def test_it_can_be_off(self):
        health = EndpointHealth(0)
        health.handicaps((A,), START_MS)
        assert health.handicaps(ENDPOINTS, START_MS) == NONE

    def test_a_clock_that_goes_back_does_no_harm(self):
        health = EndpointHealth(SLOW_START_MS)
        health.handicaps((A, B), START_MS)
        health.handicaps(ENDPOINTS, START_MS)
        assert health.handicaps(ENDPOINTS, START_MS - 100_000) == {C: Handicap(MIN_CAPACITY, 0)}


class TestHeldFailures:
    def test_a_failure_counts_until_its_time_is_over(self):
        health = EndpointHealth(0)
        health.fail(A, START_MS)
        health.fail(A, START_MS + 100)
        health.fail(B, START_MS + 200)
        assert health.handicaps(ENDPOINTS, START_MS + 300) == {A: Handicap(1.0, 2), B: Handicap(1.0, 1)}
        assert health.handicaps(ENDPOINTS, START_MS + FAILURE_HOLD_MS) == {A: Handicap(1.0, 1), B: Handicap(1.0, 1)}
        assert health.handicaps(ENDPOINTS, START_MS + FAILURE_HOLD_MS + 200) == NONE
        assert health.handicaps(ENDPOINTS, START_MS) == NONE  # it is forgotten

    def test_a_request_that_failed_late_has_counted_long_enough(self):
        health = EndpointHealth(0)
        health.fail(A, START_MS - FAILURE_HOLD_MS)
        assert health.handicaps(ENDPOINTS, START_MS) == NONE

    def test_an_older_failure_behind_a_newer_one_does_not_count_too_long(self):
        health = EndpointHealth(0)
        health.fail(A, START_MS + 5000)
        health.fail(B, START_MS)  # it took longer
        assert health.handicaps(ENDPOINTS, START_MS + FAILURE_HOLD_MS) == {A: Handicap(1.0, 1)}

    def test_what_is_remembered_is_bounded(self):
        health = EndpointHealth(0)
        for _ in range(MAX_FAILURES + 10):
            health.fail(A, START_MS)
        for _ in range(10):
            health.fail(B, START_MS)
        found = health.handicaps(ENDPOINTS, START_MS)
        assert found == {A: Handicap(1.0, MAX_FAILURES - 10), B: Handicap(1.0, 10)}

    def test_both_handicaps_add_up(self):
        health = EndpointHealth(SLOW_START_MS)
        health.handicaps((A, B), START_MS)
        health.handicaps(ENDPOINTS, START_MS)
        health.fail(C, START_MS)
        found = health.handicaps(ENDPOINTS, START_MS + 6000)
        assert found == {C: Handicap(0.2, 1)}
        assert loads(ENDPOINTS, (9, 0, 0), found) == [9, 0, 9]
