"""The pure decisions of AdaptiveScore."""

import random
from math import sqrt

import pytest
from ai_load_balancer.policies.adaptive_score import (
    ERROR_HALF_LIFE_MS,
    AdaptiveScore,
    Weights,
)
from ai_load_balancer.policies.cluster_metrics import Verdict
from ai_load_balancer.policies.lowest import lowest
from ai_load_balancer.policies.value import Value
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
    return policy.finished(value, position, SUCCESS, ttft_ms, total_ms, now_ms)


def failed(policy, value, position, total_ms=1, now_ms=NOW_MS):
    return policy.finished(value, position, FAILURE, None, total_ms, now_ms)


@pytest.mark.shows("key lb_config.metrics_missing_policy")
def test_without_samples_the_score_is_what_is_in_flight():
    assert three().scores(three().empty, (0, 4, 1), [0, 1, 2], NOW_MS) == [1, 5, 2]


@pytest.mark.shows("key lb_config.ttft_weight", "key lb_config.total_latency_weight")
def test_the_score_of_a_service_without_errors():
    value = answered(three(), three().empty, 0, 99, 399)
    assert score(three(), value) == pytest.approx(0.7 * 10 + 0.3 * 20)
    assert score(three(), value, in_flight=(3, 0, 0)) == pytest.approx(4 * 13)
    by_ttft = three(ttft_weight=1.0, total_latency_weight=0.0)
    assert score(by_ttft, answered(by_ttft, by_ttft.empty, 0, 99, 399)) == pytest.approx(10)


def test_a_missing_mean_is_replaced_by_the_other_one():
    policy = three()
    assert score(policy, policy.finished(policy.empty, 0, SUCCESS, None, 399, NOW_MS)) == pytest.approx(20)


@pytest.mark.shows("key lb_config.ewma_beta")
def test_means_are_exponentially_weighted_and_beta_is_the_weight_of_the_past():
    policy = three(ewma_beta=0.75)
    value = answered(policy, answered(policy, policy.empty, 1, 100, 1000), 1, 200, 3000)
    service = policy.service(value, 1)
    assert (service.ttft_ms, service.total_ms, service.successes) == (125, 1500, 2)
    assert policy.service(value, 0).ttft_ms < 0


@pytest.mark.shows("key lb_config.error_penalty")
def test_a_failing_service_is_penalised():
    policy = three()
    value = answered(policy, policy.empty, 0, 99, 99)
    once = failed(policy, value, 0)
    # 1 error, 1 success: the rate is 1/3. While it cools down, 1 consecutive error + 1 is added.
    assert score(policy, once) == pytest.approx(10 * (1 + 2) * (1 + 3 * 1 / 3))
    assert score(policy, once, now_ms=NOW_MS + 30_000) < 20
    twice = failed(policy, once, 0)
    assert score(policy, twice) == pytest.approx(10 * (1 + 3) * (1 + 3 * 2 / 4))
    recovered = policy.finished(twice, 0, SUCCESS, 99, 99, NOW_MS)
    assert score(policy, recovered) == pytest.approx(10 * (1 + 1) * (1 + 3 * 2 / 5))  # it still cools down


def test_the_error_rate_decays_by_itself():
    policy = three(error_penalty=1.0)
    value = failed(policy, answered(policy, policy.empty, 0, 99, 99), 0, 1)
    after = [score(policy, value, now_ms=NOW_MS + n * ERROR_HALF_LIFE_MS) for n in range(1, 30)]
    assert after == sorted(after, reverse=True)
    assert after[0] == pytest.approx(10 * (1 + 0.5 / 2))
    assert after[-1] == pytest.approx(10)


def test_a_fast_failure_never_lowers_a_mean():
    policy = three()
    value = answered(policy, answered(policy, policy.empty, 0, 100, 1000), 1, 100, 4000)
    assert policy.service(failed(policy, value, 0, 1), 0).total_ms == 1000
    assert policy.service(failed(policy, value, 0, 3000), 0).total_ms == 2000
    # Without a sample of its own it is as slow as the slowest.
    assert policy.service(failed(policy, value, 2, 1), 2).total_ms == 4000


def test_an_aborted_request_changes_nothing():
    policy = three()
    value = answered(policy, policy.empty, 0, 10, 20)
    assert policy.finished(value, 0, ABORTED, None, 5, NOW_MS) == value


def test_those_cooling_down_are_left_out_unless_all_are():
    policy = three(p2c_choices=3)
    value = failed(policy, policy.empty, 1, 1)
    bits = random.Random(0).getrandbits
    assert sorted(policy.candidates(value, range(3), NOW_MS, bits)) == [0, 2]
    two = three()
    assert sorted(two.candidates(failed(two, two.empty, 1, 1), None, NOW_MS, bits)) == [0, 2]
    assert sorted(policy.candidates(value, [1], NOW_MS, bits)) == [1]
    assert sorted(policy.candidates(value, range(3), NOW_MS + 30_000, bits)) == [0, 1, 2]


@pytest.mark.shows("key lb_config.p2c_choices")
@given(st.integers(1, 12), st.integers(1, 14), st.integers(0, 2**32))
def test_the_candidates_are_distinct_and_as_many_as_wanted(size, choices, seed):
    policy = AdaptiveScore(size, Weights(p2c_choices=choices))
    for among, within in ((range(0, size, 2), range(0, size, 2)), (None, range(size))):
        drawn = policy.candidates(policy.empty, among, NOW_MS, random.Random(seed).getrandbits)
        assert len(set(drawn)) == len(drawn) == min(choices, len(within))
        assert set(drawn) <= set(within)


@pytest.mark.parametrize("among", [range(4), None])
def test_all_pairs_are_drawn_alike(among):
    bits = random.Random(11).getrandbits
    policy = AdaptiveScore(4, Weights())
    draws = [tuple(policy.candidates(policy.empty, among, NOW_MS, bits)) for _ in range(3000)]
    assert_uniform(draws, [(i, j) for i in range(4) for j in range(4) if i != j])


@pytest.mark.parametrize("choices", [1, 2, 5, 9])
def test_equals_are_drawn_uniformly(choices):
    numbers = random.Random(choices)
    policy = AdaptiveScore(5, Weights(p2c_choices=choices))
    picks = []
    for _ in range(3000):
        candidates = policy.candidates(policy.empty, range(5), NOW_MS, numbers.getrandbits)
        scores = policy.scores(policy.empty, (0,) * 5, candidates, NOW_MS)
        picks.append(candidates[lowest(scores, numbers.getrandbits(31))])
    assert_uniform(picks, range(5))


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(Verdict), st.floats(0, 1e7), st.integers(0, 10**6))))
def test_scores_are_always_numbers_above_zero(ends):
    policy = three()
    value = policy.empty
    now_ms = NOW_MS
    for position, verdict, total_ms, elapsed_ms in ends:
        now_ms += elapsed_ms
        value = policy.finished(value, position, verdict, None, total_ms, now_ms)
    assert all(0 < one < float("inf") for one in policy.scores(value, (0, 1, 2), range(3), now_ms))


def test_the_statistics_may_begin_behind_something_else():
    policy, shifted = three(), AdaptiveScore(3, Weights(), offset=3)
    value = policy.empty
    behind: Value = b"abc" + shifted.empty
    for verdict, position in ((SUCCESS, 0), (FAILURE, 1), (SUCCESS, 2)):
        value = policy.finished(value, position, verdict, 10, 20, NOW_MS)
        behind = shifted.finished(behind, position, verdict, 10, 20, NOW_MS)
    assert behind == b"abc" + value
    assert shifted.scores(behind, (0, 1, 2), range(3), NOW_MS) == policy.scores(value, (0, 1, 2), range(3), NOW_MS)
    bits = random.Random(0).getrandbits
    assert sorted(shifted.candidates(behind, None, NOW_MS, bits)) == [0, 2]


def test_the_error_rate_halves_and_a_clock_set_back_changes_nothing():
    policy = three()
    service = policy.service(failed(policy, policy.empty, 0), 0)
    assert policy.error_rate(service, NOW_MS) == 1 / 2
    assert policy.error_rate(service, NOW_MS - 5) == 1 / 2
    assert policy.error_rate(service, NOW_MS + ERROR_HALF_LIFE_MS) == pytest.approx(0.5 / 1.5)
    assert policy.error_rate(service, NOW_MS + 10**12) == 0


@pytest.mark.shows("key lb_config.failure_cooldown_ms")
def test_a_service_cools_down_as_long_as_is_configured():
    policy = three(failure_cooldown_ms=3_600_000)
    value = failed(policy, policy.empty, 0)
    assert score(policy, value, now_ms=NOW_MS + 3_599_999) > 2
    assert score(policy, value, now_ms=NOW_MS + 3_600_000) < 2


def test_the_reference_s_formula():
    policy = three(ttft_weight=0.6, total_latency_weight=0.4, error_penalty=2.0)
    value = answered(policy, policy.empty, 2, 250, 3000)
    for _ in range(3):
        value = failed(policy, value, 2, 1)
    latency = 0.6 * sqrt(251) + 0.4 * sqrt(3001)
    assert score(policy, value, 2, (0, 0, 5)) == pytest.approx(latency * (5 + 1 + 3 + 1) * (1 + 2.0 * 3 / 5))
