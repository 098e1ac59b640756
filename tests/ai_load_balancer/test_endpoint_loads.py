"""What the workers of a gateway share: loads that are scraped, added to and grow old; error rates; the last picks."""

import random

import pytest
from ai_load_balancer.policies.endpoint_loads import (
    ERROR_HALF_LIFE_MS,
    ERROR_WEIGHT,
    LOAD_HALF_LIFE_MS,
    MAX_CLOCK_STEP_MS,
    WINDOW_PICKS,
    EndpointLoads,
    Scrapes,
    names_of,
)
from hypothesis import given
from hypothesis import strategies as st

NOW_MS = 1.8e12
ENDPOINTS = ("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")


def scrapes(depths, seen_ms=NOW_MS, texts=None, endpoints=ENDPOINTS):
    """What a worker sees: equal `texts` (numbers) are equal texts."""
    texts = depths if texts is None else texts
    fingerprints = b"".join(text.to_bytes(4, "little") for text in texts)
    return Scrapes(names_of(endpoints), fingerprints, depths, [seen_ms] * len(depths))


def updated(value, seen):
    loads = EndpointLoads.updated(value, seen)
    return loads, loads.encode()


def test_a_load_is_what_was_scraped_and_what_was_sent_since():
    loads = EndpointLoads.updated(None, scrapes((3, 0, 7)))
    assert loads.depths(NOW_MS) == [3, 0, 7]
    loads.add_pick(1, NOW_MS)
    loads.add_pick(1, NOW_MS)
    assert loads.depths(NOW_MS) == [3, 2, 7]


def test_workers_see_each_others_requests_and_a_new_scrape_once():
    _, value = updated(None, scrapes((1, 1, 1), texts=(1, 2, 3)))
    loads = EndpointLoads.updated(value, scrapes((1, 1, 1), NOW_MS + 5, texts=(1, 2, 3)))  # another worker
    loads.add_pick(0, NOW_MS + 10)
    new = scrapes((4, 1, 1), NOW_MS + 20, texts=(9, 2, 3))
    loads, value = updated(loads.encode(), new)
    assert loads.depths(NOW_MS + 20) == [4, 1, 1]
    loads.add_pick(0, NOW_MS + 30)
    late = scrapes((4, 1, 1), NOW_MS + 40, texts=(9, 2, 3))  # the same text, seen later by the other worker
    assert EndpointLoads.updated(loads.encode(), late).depths(NOW_MS + 40) == [5, 1, 1]


def test_a_worker_with_the_text_before_does_not_bring_it_back():
    _, value = updated(None, scrapes((4, 0, 0), NOW_MS, texts=(2, 0, 0)))
    stale = scrapes((9, 0, 0), NOW_MS - 1000, texts=(1, 0, 0))
    assert EndpointLoads.updated(value, stale).depths(NOW_MS) == [4, 0, 0]


def test_a_clock_that_was_set_back_does_not_hold_up_scrapes():
    _, value = updated(None, scrapes((4, 0, 0), NOW_MS, texts=(2, 0, 0)))
    seen_ms = NOW_MS - MAX_CLOCK_STEP_MS - 1
    assert EndpointLoads.updated(value, scrapes((1, 0, 0), seen_ms, texts=(3, 0, 0))).depths(seen_ms) == [1, 0, 0]


def test_loads_grow_old():
    loads = EndpointLoads.updated(None, scrapes((40, 0, 8)))
    loads.add_pick(1, NOW_MS)
    assert loads.depths(NOW_MS + LOAD_HALF_LIFE_MS) == [20, 0, 4]
    loads.add_pick(0, NOW_MS + LOAD_HALF_LIFE_MS)
    assert loads.depths(NOW_MS + 2 * LOAD_HALF_LIFE_MS) == [10, 0, 2]
    assert loads.depths(NOW_MS + 1e15) == [0, 0, 0]
    assert loads.depths(NOW_MS - 1e15) == [21, 1, 8]


def with_outcomes(value, outcomes, at_ms=NOW_MS):
    for endpoint, failed in outcomes:
        value = EndpointLoads.with_outcome(value, endpoint, failed, at_ms)
    return value


def test_an_error_rate_rises_with_failures_and_falls_with_successes_and_time():
    seen = scrapes((0, 0, 0))
    _, value = updated(None, seen)
    assert EndpointLoads.updated(value, seen).error_rates(NOW_MS) is None
    value = with_outcomes(value, [(ENDPOINTS[1], True)] * 30)
    rates = EndpointLoads.updated(value, seen).error_rates(NOW_MS)
    assert rates is not None
    assert rates == [0, pytest.approx(1, abs=0.02), 0]
    later = EndpointLoads.updated(value, seen).error_rates(NOW_MS + ERROR_HALF_LIFE_MS)
    assert later == [0, pytest.approx(rates[1] / 2), 0]
    value = with_outcomes(value, [(ENDPOINTS[1], False)] * 60)
    assert EndpointLoads.updated(value, seen).error_rates(NOW_MS) is None


@pytest.mark.parametrize("value", [None, b"", b"other", b"10.0.0.9:80 \n" + bytes(44)])
def test_an_outcome_of_an_unknown_endpoint_changes_nothing(value):
    assert EndpointLoads.with_outcome(value, ENDPOINTS[0], True, NOW_MS) == (value or b"")


def test_the_last_picks_are_remembered_up_to_a_bound():
    loads = EndpointLoads.updated(None, scrapes((0, 0, 0)))
    assert loads.share_of_picks(0) == 0
    for position in (0, 0, 1, 0):
        loads.add_pick(position, NOW_MS)
    assert [loads.share_of_picks(position) for position in range(3)] == [0.75, 0.25, 0]
    for _ in range(WINDOW_PICKS):
        loads.add_pick(2, NOW_MS)
    assert [loads.share_of_picks(position) for position in range(3)] == [0, 0, 1]
    assert len(loads.encode()) == len(EndpointLoads.updated(None, scrapes((0, 0, 0))).encode()) + 2 * WINDOW_PICKS


def test_other_endpoints_keep_what_is_known_of_them():
    loads = EndpointLoads.updated(None, scrapes((5, 6, 7)))
    for position in (0, 1, 2, 2):
        loads.add_pick(position, NOW_MS)
    value = with_outcomes(loads.encode(), [(ENDPOINTS[2], True)])
    changed = scrapes((9, 7, 0), NOW_MS, texts=(9, 7, 0), endpoints=("10.0.0.4:80", ENDPOINTS[2], ENDPOINTS[1]))
    changed = changed._replace(fingerprints=changed.fingerprints[:8] + (6).to_bytes(4, "little"))
    loads = EndpointLoads.updated(value, changed)
    assert loads.depths(NOW_MS) == [9, 9, 7]  # new; 7 + 2 picks; 6 + 1 pick
    assert [loads.share_of_picks(position) for position in range(3)] == [0, pytest.approx(2 / 3), pytest.approx(1 / 3)]
    assert loads.error_rates(NOW_MS) == [0, pytest.approx(ERROR_WEIGHT), 0]


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_taken_for_nothing(junk, is_named):
    seen = scrapes((1, 2, 3))
    value = seen.names + junk if is_named and len(junk) < 3 * 44 else junk
    assert EndpointLoads.updated(value, seen).depths(NOW_MS) == [1, 2, 3]
    EndpointLoads.with_outcome(junk, ENDPOINTS[0], True, NOW_MS)


@pytest.mark.parametrize("seed", range(3))
def test_no_history_makes_a_load_negative_or_loses_a_request_between_scrapes(seed):
    """Several workers with their own views, in random order, against a model without ageing (time stands still)."""
    chance = random.Random(seed)
    value, model, texts = None, [0, 0, 0], [1, 1, 1]
    for step in range(300):
        position = chance.randrange(3)
        if chance.random() < 0.2:
            texts[position] += 1
            model[position] = chance.randrange(60)
        depths = [model[at] for at in range(3)]
        loads = EndpointLoads.updated(value, scrapes(depths, NOW_MS + step * 1e-3, texts=list(texts)))
        assert loads.depths(NOW_MS) == model
        loads.add_pick(position, NOW_MS)
        model[position] += 1
        value = loads.encode()
