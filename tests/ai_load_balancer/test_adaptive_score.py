"""The pure decisions of AdaptiveScore."""

import random
from math import sqrt

import pytest
from ai_load_balancer.policies.adaptive_score import (
    ERROR_HALF_LIFE_MS,
    AdaptiveScore,
    Weights,
    choose,
    decayed,
)
from ai_load_balancer.policies.cluster_metrics import Verdict
from hypothesis import given
from hypothesis import strategies as st

from .fairness import assert_uniform

NOW_MS = 1_800_000_000_000
SUCCESS, FAILURE, ABORTED = Verdict.SUCCESS, Verdict.FAILURE, Verdict.ABORTED


def three(**weights):
    return AdaptiveScore(3, Weights(**weights))


def score(policy, value, position=0, in_flight=(0, 0, 0), now_ms=NOW_MS):
    return policy.scores(value, in_flight, [position], now_ms)[0]


def answered(policy, value, position, ttft_ms, total_ms, now_ms=NOW_MS):
    return policy.finished(policy.first_token(value, position, ttft_ms), position, SUCCESS, total_ms, now_ms)


def test_without_samples_the_score_is_what_is_in_flight():
    assert three().scores(None, (0, 4, 1), [0, 1, 2], NOW_MS) == [1, 5, 2]


def test_the_score_of_a_service_without_errors():
    value = answered(three(), None, 0, 99, 399)
    assert score(three(), value) == pytest.approx(0.7 * 10 + 0.3 * 20)
    assert score(three(), value, in_flight=(3, 0, 0)) == pytest.approx(4 * 13)
    weights = {"ttft_weight": 1.0, "total_latency_weight": 0.0}
    assert score(three(**weights), value) == pytest.approx(10)


def test_a_missing_mean_is_replaced_by_the_other_one():
    policy = three()
    assert score(policy, policy.first_token(None, 0, 99)) == pytest.approx(10)
    assert score(policy, policy.finished(None, 0, SUCCESS, 399, NOW_MS)) == pytest.approx(20)


def test_means_are_exponentially_weighted_and_beta_is_the_weight_of_the_past():
    policy = three(ewma_beta=0.75)
    value = answered(policy, answered(policy, None, 1, 100, 1000), 1, 200, 3000)
    service = policy.service(value, 1)
    assert (service.ttft_ms, service.total_ms, service.successes) == (125, 1500, 2)
    assert policy.service(value, 0).ttft_ms < 0


def test_a_failing_service_is_penalised():
    policy = three()
    value = answered(policy, None, 0, 99, 99)
    failed = policy.finished(value, 0, FAILURE, 1, NOW_MS)
    # 1 error, 1 success: the rate is 1/3. While it cools down, 1 consecutive error + 1 is added.
    assert score(policy, failed) == pytest.approx(10 * (1 + 2) * (1 + 3 * 1 / 3))
    assert score(policy, failed, now_ms=NOW_MS + 30_000) < 20
    twice = policy.finished(failed, 0, FAILURE, 1, NOW_MS)
    assert score(policy, twice) == pytest.approx(10 * (1 + 3) * (1 + 3 * 2 / 4))
    recovered = policy.finished(twice, 0, SUCCESS, 99, NOW_MS)
    assert score(policy, recovered) == pytest.approx(10 * (1 + 1) * (1 + 3 * 2 / 5))  # it still cools down


def test_the_error_rate_decays_by_itself():
    policy = three(error_penalty=1.0)
    value = policy.finished(answered(policy, None, 0, 99, 99), 0, FAILURE, 1, NOW_MS)
    after = [score(policy, value, now_ms=NOW_MS + n * ERROR_HALF_LIFE_MS) for n in range(1, 30)]
    assert after == sorted(after, reverse=True)
    assert after[0] == pytest.approx(10 * (1 + 0.5 / 2))
    assert after[-1] == pytest.approx(10)


def test_a_fast_failure_never_lowers_a_mean():
    policy = three()
    value = answered(policy, answered(policy, None, 0, 100, 1000), 1, 100, 4000)
    assert policy.service(policy.finished(value, 0, FAILURE, 1, NOW_MS), 0).total_ms == 1000
    assert policy.service(policy.finished(value, 0, FAILURE, 3000, NOW_MS), 0).total_ms == 2000
    # Without a sample of its own it is as slow as the slowest.
    assert policy.service(policy.finished(value, 2, FAILURE, 1, NOW_MS), 2).total_ms == 4000


def test_an_aborted_request_changes_nothing():
    policy = three()
    value = answered(policy, None, 0, 10, 20)
    assert policy.finished(value, 0, ABORTED, 5, NOW_MS) == value


def test_those_cooling_down_are_left_out_unless_all_are():
    policy = three(p2c_choices=3)
    value = policy.finished(None, 1, FAILURE, 1, NOW_MS)
    bits = random.Random(0).getrandbits
    assert sorted(policy.candidates(value, range(3), NOW_MS, bits)) == [0, 2]
    assert sorted(policy.candidates(value, [1], NOW_MS, bits)) == [1]
    assert sorted(policy.candidates(value, range(3), NOW_MS + 30_000, bits)) == [0, 1, 2]


@given(st.integers(1, 12), st.integers(1, 14), st.integers(0, 2**32))
def test_the_candidates_are_distinct_and_as_many_as_wanted(size, choices, seed):
    policy = AdaptiveScore(size, Weights(p2c_choices=choices))
    among = range(0, size, 2)
    drawn = policy.candidates(None, among, NOW_MS, random.Random(seed).getrandbits)
    assert len(set(drawn)) == len(drawn) == min(choices, len(among))
    assert set(drawn) <= set(among)


def test_all_pairs_are_drawn_alike():
    bits = random.Random(11).getrandbits
    policy = AdaptiveScore(4, Weights())
    draws = [tuple(policy.candidates(None, range(4), NOW_MS, bits)) for _ in range(3000)]
    assert_uniform(draws, [(i, j) for i in range(4) for j in range(4) if i != j])


@pytest.mark.parametrize("choices", [1, 2, 5, 9])
def test_equals_are_drawn_uniformly(choices):
    numbers = random.Random(choices)
    policy = AdaptiveScore(5, Weights(p2c_choices=choices))
    picks = []
    for _ in range(3000):
        candidates = policy.candidates(None, range(5), NOW_MS, numbers.getrandbits)
        scores = policy.scores(None, (0,) * 5, candidates, NOW_MS)
        picks.append(choose(scores, candidates, numbers.getrandbits(31)))
    assert_uniform(picks, range(5))


def test_the_lowest_score_wins():
    assert {choose([3.0, 1.5, 2.0], [7, 4, 9], number) for number in range(20)} == {4}


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(Verdict), st.floats(0, 1e7), st.integers(0, 10**6))))
def test_scores_are_always_numbers_above_zero(ends):
    policy = three()
    value = None
    now_ms = NOW_MS
    for position, verdict, total_ms, elapsed_ms in ends:
        now_ms += elapsed_ms
        value = policy.finished(value, position, verdict, total_ms, now_ms)
    assert all(0 < one < float("inf") for one in policy.scores(value, (0, 1, 2), range(3), now_ms))


@pytest.mark.parametrize("value", [b"", b"x", b"x" * 169])
def test_a_value_that_is_not_ours_has_no_statistics(value):
    assert three().scores(value, (0, 0, 0), range(3), NOW_MS) == [1, 1, 1]


def test_decay_is_by_halves_and_a_clock_set_back_changes_nothing():
    assert decayed(4, 2, ERROR_HALF_LIFE_MS) == (2, 1)
    assert decayed(4, 2, -5) == (4, 2)
    assert decayed(0, 0, 1e9) == (0, 0)
    assert decayed(1, 1, 10**12)[0] >= 0


def test_the_reference_s_formula():
    policy = three(ttft_weight=0.6, total_latency_weight=0.4, error_penalty=2.0)
    value = answered(policy, None, 2, 250, 3000)
    for _ in range(3):
        value = policy.finished(value, 2, FAILURE, 1, NOW_MS)
    latency = 0.6 * sqrt(251) + 0.4 * sqrt(3001)
    assert score(policy, value, 2, (0, 0, 5)) == pytest.approx(latency * (5 + 1 + 3 + 1) * (1 + 2.0 * 3 / 5))
