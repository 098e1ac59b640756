"""When Redis is asked, and how long a request waits for it: budget, breaker, probes."""

from typing import Any

import pytest
from ai_load_balancer.redis_rung import FAILURES_TO_OPEN, PROBE_INTERVAL_MS, RedisRung

START_MS = 1_700_000_000_000
BUDGET_MS = 200


class Request:
    def __init__(self, context_id, told):
        self.context_id = context_id
        self.told = told

    def make_current(self):
        self.told.append(("current", self.context_id))

    def on_budget_spent(self):
        self.told.append(("spent", self.context_id))


class Rung(RedisRung[Any]):
    def __init__(self):
        super().__init__(BUDGET_MS)
        self.told: list[tuple[str, int]] = []

    def hold(self, context_id, at_ms):
        request = Request(context_id, self.told)
        self.wait(request, at_ms)
        return request

    def spent(self):
        return [context_id for what, context_id in self.told if what == "spent"]


@pytest.fixture
def rung():
    return Rung()


def test_requests_are_resumed_in_the_order_of_their_budgets_each_as_the_current_context(rung):
    for context_id, at_ms in ((7, 0), (3, 10), (9, 20)):
        rung.hold(context_id, START_MS + at_ms)
    rung.on_tick(START_MS + BUDGET_MS - 1)
    assert rung.told == []
    rung.on_tick(START_MS + BUDGET_MS + 10)
    assert rung.told == [("current", 7), ("spent", 7), ("current", 3), ("spent", 3)]
    rung.on_tick(START_MS + BUDGET_MS + 20)
    assert rung.spent() == [7, 3, 9]
    assert rung.is_idle


def test_who_got_a_reply_or_went_away_is_not_resumed(rung):
    first, second = rung.hold(1, START_MS), rung.hold(2, START_MS)
    rung.end_wait(first)
    rung.end_wait(first)
    rung.on_tick(START_MS + BUDGET_MS)
    assert rung.spent() == [2]
    rung.end_wait(second)
    rung.on_tick(START_MS + 10 * BUDGET_MS)
    assert rung.spent() == [2]


def test_a_request_that_breaks_does_not_keep_the_others(rung):
    rung.hold(1, START_MS).on_budget_spent = lambda: 1 / 0
    rung.hold(2, START_MS)
    with pytest.raises(ZeroDivisionError):
        rung.on_tick(START_MS + BUDGET_MS)
    rung.on_tick(START_MS + BUDGET_MS)
    assert rung.spent() == [2]


def test_one_request_may_end_the_wait_of_another(rung):
    first = rung.hold(1, START_MS)
    second = rung.hold(2, START_MS)
    first.on_budget_spent = lambda: rung.end_wait(second)
    rung.on_tick(START_MS + BUDGET_MS)
    assert rung.spent() == []
    assert rung.is_idle


def test_the_breaker_opens_after_failures_in_a_row(rung):
    for _ in range(FAILURES_TO_OPEN - 1):
        rung.failed(START_MS)
    assert rung.is_sound
    rung.succeeded()
    for _ in range(FAILURES_TO_OPEN - 1):
        rung.failed(START_MS)
    assert rung.may_ask(START_MS)
    assert rung.is_sound
    rung.failed(START_MS)
    assert not rung.is_sound
    assert not rung.may_ask(START_MS)


def test_spent_budgets_open_it_too(rung):
    for context_id in range(FAILURES_TO_OPEN):
        rung.hold(context_id, START_MS)
    rung.on_tick(START_MS + BUDGET_MS)
    assert not rung.is_sound


def opened(rung):
    for _ in range(FAILURES_TO_OPEN):
        rung.failed(START_MS)
    return rung


def test_one_request_probes_at_a_time(rung):
    opened(rung)
    assert not rung.may_ask(START_MS + PROBE_INTERVAL_MS - 1)
    assert rung.may_ask(START_MS + PROBE_INTERVAL_MS)
    assert not rung.may_ask(START_MS + PROBE_INTERVAL_MS)
    rung.failed(START_MS + PROBE_INTERVAL_MS + 5)
    assert not rung.may_ask(START_MS + 2 * PROBE_INTERVAL_MS - 1)
    assert rung.may_ask(START_MS + 2 * PROBE_INTERVAL_MS)


def test_a_success_closes_it(rung):
    opened(rung)
    assert rung.may_ask(START_MS + PROBE_INTERVAL_MS)
    rung.succeeded()
    assert rung.is_sound
    assert all(rung.may_ask(START_MS + PROBE_INTERVAL_MS) for _ in range(10))
    for _ in range(FAILURES_TO_OPEN - 1):
        rung.failed(START_MS + PROBE_INTERVAL_MS)
    assert rung.is_sound


def test_late_failures_of_requests_that_were_sent_before_do_not_put_off_the_probe(rung):
    opened(rung)
    for _ in range(100):
        rung.failed(START_MS + PROBE_INTERVAL_MS - 1)
    assert rung.may_ask(START_MS + PROBE_INTERVAL_MS)


@pytest.mark.parametrize(("budget_ms", "period_ms"), [(1, 10), (40, 10), (200, 50), (3000, 750), (600_000, 1000)])
def test_the_tick_is_a_quarter_of_the_budget_within_bounds(budget_ms, period_ms):
    assert RedisRung(budget_ms).tick_period_ms == period_ms
