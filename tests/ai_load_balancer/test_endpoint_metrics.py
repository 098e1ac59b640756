"""The decisions of endpoint_metrics: the chain of `default`, `least` and `most`, and what keeps them from herding."""

import random
from collections import Counter
from itertools import pairwise

import pytest
from ai_load_balancer.policies.endpoint_loads import EndpointLoads
from ai_load_balancer.policies.endpoint_metrics import Endpoint, EndpointMetrics, View
from ai_load_balancer.policies.handicaps import is_failure
from ai_load_balancer.policies.metrics_text import NO_LORA, Lora, Metrics
from hypothesis import given
from hypothesis import strategies as st

from .test_policy import CHI_SQUARE_BOUND

NOW_MS = 1.8e12
DRAWS = 60  # a multiple of every number of endpoints here, so that each is drawn


def endpoint(number, metrics, text=1, healthy_at_ms=None):
    return Endpoint(f"10.0.0.{number}:80", metrics, text, NOW_MS, healthy_at_ms)


def view_of(*metrics, **options):
    return View([endpoint(number, one, **options) for number, one in enumerate(metrics)])


def engine(waiting, kv_usage: float | None = 0.5, active=(), max_active=0):
    return Metrics(waiting, 1, kv_usage, Lora(frozenset(active), max_active) if max_active else NO_LORA)


def target(value):
    return Metrics(target=value)


def choose(policy, view, value=None, number=0, model=None, now_ms=NOW_MS):
    return policy.choose(view, EndpointLoads.updated(value, view.scrapes), now_ms, number, model)


def favourites(policy, view, value=None, model=None, now_ms=NOW_MS):
    """Every endpoint that can be drawn for one request."""
    choices = [choose(policy, view, value, number, model, now_ms) for number in range(DRAWS)]
    return {choice.position for choice in choices}


# waiting, KV usage, active adapters, adapters at a time; which ones are left for a request of model "sql"
CHAIN = {
    "the shortest queue": ([engine(6), engine(1), engine(9)], {1}),
    "a queue within the first part of the range": ([engine(0), engine(3), engine(9)], {0, 1}),
    "a queue just outside of it": ([engine(0), engine(4), engine(9)], {0}),
    "alike in queue, the least cache": ([engine(2, 0.9), engine(2, 0.1), engine(2, 0.8)], {1}),
    "alike in both": ([engine(2, 0.4), engine(2, 0.4), engine(7, 0.0)], {0, 1}),
    "cache usage within the first part of the range": ([engine(0, 0.1), engine(0, 0.3), engine(0, 0.9)], {0, 1}),
    "an unknown cache usage comes last": ([engine(0, None), engine(0, 0.9), engine(0, 0.95)], {1}),
    "one has no metrics": ([None, engine(40), engine(40)], {1, 2}),
    "only one has metrics": ([None, engine(400), None], {1}),
    "all queues are long": ([engine(70), engine(50), engine(90)], {1}),
    "one queue is short, the adapter elsewhere": (
        [engine(49), engine(60, active=["sql"], max_active=2), engine(50, max_active=2)],
        {0},
    ),
    "the adapter is active": ([engine(9, active=["sql"], max_active=1), engine(0, max_active=4), engine(0)], {0}),
    "of those with the adapter, the shortest queue": (
        [engine(40, active=["sql"], max_active=1), engine(2, active=["sql", "x"], max_active=2), engine(0)],
        {1},
    ),
    "room for the adapter": (
        [engine(0), engine(9, active=["x"], max_active=2), engine(1, active=["y"], max_active=1)],
        {1},
    ),
    "no adapter and no room anywhere": (
        [engine(5, active=["x"], max_active=1), engine(1, active=["y"], max_active=1)],
        {1},
    ),
    "long queues, then the adapter or room for it": (
        [
            engine(60, 0.1, active=["x"], max_active=1),
            engine(60, 0.9, active=["sql"], max_active=1),
            engine(60, 0.9, active=["x"], max_active=2),
        ],
        {1, 2},
    ),
    "long queues, the adapter is where the longest is": (
        [engine(90, active=["sql"], max_active=1), engine(60), engine(60)],
        {1, 2},
    ),
}


@pytest.mark.parametrize("case", CHAIN)
def test_the_chain_of_default(case):
    endpoints, expected = CHAIN[case]
    assert favourites(EndpointMetrics(), view_of(*endpoints), model="sql") == expected


def by_the_book(endpoints, model):
    """The chain as the Go plugin applies it, in whole numbers, to endpoints that all have metrics."""

    def least_queuing(left):
        depths = [endpoints[i].waiting for i in left]
        return [i for i in left if endpoints[i].waiting <= min(depths) + (max(depths) - min(depths)) // len(left)]

    def least_cache(left):
        usages = [endpoints[i].kv_usage for i in left]
        return {i for i in left if endpoints[i].kv_usage <= min(usages) + (max(usages) - min(usages)) / len(left)}

    def is_active(i):
        return model in endpoints[i].lora.active

    def has_room(i):
        return len(endpoints[i].lora.active) < endpoints[i].lora.max_active

    everyone = list(range(len(endpoints)))
    low = [i for i in everyone if endpoints[i].waiting < 50]
    if low:
        return least_cache(least_queuing([*filter(is_active, low)] or [*filter(has_room, low)] or low))
    queued = least_queuing(everyone)
    return least_cache([i for i in queued if is_active(i) or has_room(i)] or queued)


engines = st.builds(
    engine,
    st.integers(0, 12) | st.integers(45, 120),
    st.floats(0, 1),
    st.sets(st.sampled_from(["sql", "chat", "x"])),
    st.integers(0, 3),
)


@given(st.lists(engines, min_size=1, max_size=6))
def test_default_decides_as_the_go_plugin(endpoints):
    assert favourites(EndpointMetrics(), view_of(*endpoints), model="sql") == by_the_book(endpoints, "sql")


def test_without_a_model_adapters_do_not_matter():
    view = view_of(engine(9, active=["sql"], max_active=1), engine(0, active=["x"], max_active=1))
    assert favourites(EndpointMetrics(), view, model=None) == {1}


@pytest.mark.parametrize(
    ("policy", "endpoints", "expected"),
    [
        (EndpointMetrics(), [engine(0)], False),
        (EndpointMetrics(), [engine(0), engine(0, max_active=1)], True),
        (EndpointMetrics("least", "m"), [engine(0, max_active=1)], False),
    ],
)
def test_the_model_is_needed_only_where_there_are_adapters(policy, endpoints, expected):
    assert policy.needs_model(view_of(*endpoints)) == expected


@pytest.mark.parametrize(
    ("metric_policy", "amounts", "expected"),
    [
        ("least", (5, 2, 8), {1}),
        ("least", (2, 4, 8), {0, 1}),
        ("least", (2, 4.1, 8), {0}),
        ("least", (None, 4, None), {1}),
        ("most", (5, 2, 8), {2}),
        ("most", (6, 2, 8), {0, 2}),
        ("most", (0, 0, 0), {0, 1, 2}),
        ("most", (None, 0, 0), {1, 2}),
    ],
)
def test_least_and_most(metric_policy, amounts, expected):
    view = view_of(*(None if amount is None else target(amount) for amount in amounts))
    assert favourites(EndpointMetrics(metric_policy, "vllm:kv_cache_usage_perc"), view) == expected


@pytest.mark.parametrize("policy", [EndpointMetrics(), EndpointMetrics("least", "m"), EndpointMetrics("most", "m")])
def test_nothing_is_decided_or_counted_without_any_metrics(policy):
    view = view_of(None, None)
    loads = EndpointLoads.updated(None, view.scrapes)
    before = loads.encode()
    assert policy.choose(view, loads, NOW_MS, 0) is None
    assert policy.choose(View([]), EndpointLoads.updated(None, View([]).scrapes), NOW_MS, 0) is None
    assert loads.encode() == before


@pytest.mark.parametrize(
    ("policy", "alike"),
    [
        (EndpointMetrics(), engine(3)),
        (EndpointMetrics(), engine(99)),
        (EndpointMetrics("least", "m"), target(0.5)),
        (EndpointMetrics("least", "vllm:num_requests_waiting"), target(4)),
        (EndpointMetrics("most", "m"), target(0.5)),
    ],
)
def test_equals_are_drawn_uniformly(policy, alike):
    numbers = random.Random(1)
    view = view_of(alike, alike, alike)
    drawn = Counter(choose(policy, view, number=numbers.getrandbits(31)).position for _ in range(3000))
    assert sum((drawn[position] - 1000) ** 2 / 1000 for position in range(3)) < CHI_SQUARE_BOUND


def play(policy, view, requests, value=None, seed=1, interval_ms=1.0):
    """Sends requests one after the other, as workers that share their loads; the number each endpoint got."""
    numbers = random.Random(seed)
    counts: Counter[int] = Counter()
    for step in range(requests):
        loads = EndpointLoads.updated(value, view.scrapes)
        counts[policy.choose(view, loads, NOW_MS + step * interval_ms, numbers.getrandbits(31)).position] += 1
        value = loads.encode()
    return [counts[position] for position in range(len(view.addresses))]


@pytest.mark.parametrize("policy", [EndpointMetrics(), EndpointMetrics("least", "vllm:num_requests_waiting")])
def test_between_two_scrapes_the_endpoint_that_was_idle_does_not_get_all(policy):
    depths = (0, 10, 10)
    metrics = [engine(depth)._replace(target=depth) for depth in depths]
    counts = play(policy, view_of(*metrics), requests=100)
    assert sum(counts) == 100
    levels = [depth + count for depth, count in zip(depths, counts, strict=True)]
    # Within the first part of the range the cache usage decides, so queues end within a third of each other.
    assert max(levels) - min(levels) <= 4


def test_an_endpoint_whose_metrics_stand_still_is_not_left_alone():
    stuck, others = engine(40), engine(2)
    numbers, value = random.Random(3), None
    counts: Counter[int] = Counter()
    for second in range(120):
        now_ms = NOW_MS + 1000 * second
        endpoints = [endpoint(0, stuck)] + [Endpoint(f"10.0.0.{n}:80", others, second + 2, now_ms) for n in (1, 2)]
        view = View(endpoints)
        for _ in range(9):
            loads = EndpointLoads.updated(value, view.scrapes)
            choice = EndpointMetrics().choose(view, loads, now_ms, numbers.getrandbits(31))
            assert choice is not None
            counts[choice.position] += 1
            value = loads.encode()
    assert counts[0] > 10  # a queue of 40 that did not grow old would get nothing


def test_no_endpoint_gets_more_than_its_share_of_the_picks():
    policy = EndpointMetrics("most", "m", rate_limit=0.6)
    view = view_of(target(9), target(1), target(1))
    counts = play(policy, view, requests=1000)
    assert counts[0] == pytest.approx(600, abs=25)
    assert sum((count - 200) ** 2 / 200 for count in counts[1:]) < CHI_SQUARE_BOUND


@pytest.mark.parametrize(("rate_limit", "limited"), [(0.74, True), (0.75, False), (1.0, False)])
def test_the_rate_limit_is_exceeded_only_above_it(rate_limit, limited):
    view = view_of(target(9), None, target(1))
    loads = EndpointLoads.updated(None, view.scrapes)
    for position in (0, 0, 0, 2):
        loads.add_pick(position, NOW_MS)
    policy = EndpointMetrics("most", "m", rate_limit=rate_limit)
    choices = [choose(policy, view, loads.encode(), number) for number in range(DRAWS)]
    assert {choice.limited for choice in choices} == {limited}
    assert {choice.position for choice in choices} == ({1, 2} if limited else {0})


def test_the_only_endpoint_is_never_limited():
    policy = EndpointMetrics("most", "m", rate_limit=0.0)
    assert play(policy, view_of(target(1)), requests=10) == [10]


def failing(view, position, failures=40):
    value = EndpointLoads.updated(None, view.scrapes).encode()
    for _ in range(failures):
        value = EndpointLoads.with_outcome(value, view.addresses[position], True, NOW_MS)
    return value


@pytest.mark.parametrize(
    ("policy", "metrics"),
    [
        (EndpointMetrics(), [engine(0, 0.0), engine(4), engine(4)]),
        (EndpointMetrics("least", "vllm:num_requests_waiting"), [target(0), target(4), target(4)]),
        (EndpointMetrics("least", "m"), [target(0), target(0.5), target(0.5)]),
        (EndpointMetrics("most", "m"), [target(9), target(4), target(4)]),
    ],
)
def test_an_endpoint_that_fails_fast_is_idle_and_gets_no_credit_for_it(policy, metrics):
    view = view_of(*metrics)
    assert favourites(policy, view) == {0}
    value = failing(view, 0)
    assert favourites(policy, view, value) == {1, 2}
    assert choose(policy, view, value).has_failed is False
    recovered_ms = NOW_MS + 300_000
    later = View([one._replace(fingerprint=2, scraped_at_ms=recovered_ms) for one in map(endpoint, range(3), metrics)])
    assert 0 in favourites(policy, later, value, now_ms=recovered_ms)


def test_a_failing_endpoint_is_better_than_none():
    view = view_of(target(1))
    choice = choose(EndpointMetrics("least", "m"), view, failing(view, 0))
    assert choice.position == 0
    assert choice.has_failed


@pytest.mark.parametrize(
    ("status", "expected"),
    [("200", False), ("204", False), ("400", False), ("404", False), ("429", True), ("500", True), ("", False)],
)
def test_what_a_failure_is(status, expected):
    assert is_failure(status) == expected


def test_a_new_endpoint_starts_slowly():
    policy = EndpointMetrics(slow_start_ms=10_000)
    got = []
    for age_ms in (0, 2_000, 5_000, 10_000):
        old = [endpoint(number, engine(5)) for number in (0, 1)]
        view = View([*old, endpoint(2, engine(0, 0.0), healthy_at_ms=NOW_MS - age_ms)])
        got.append(play(policy, view, requests=30, interval_ms=0)[2])
    assert all(before < after for before, after in pairwise(got)), got
    assert got[0] <= 3
    assert got[-1] >= 10


def test_without_slow_start_a_new_endpoint_takes_its_part_at_once():
    view = View([endpoint(0, engine(5)), endpoint(1, engine(0, 0.0), healthy_at_ms=NOW_MS)])
    assert favourites(EndpointMetrics(), view) == {1}
