"""The budgets, and memory that stays flat, at a scale that a test can afford; `./build.sh bench` runs the whole."""

import pytest

from bench.cost import Cost, costs
from bench.memory import Growth, growths
from tests.artifacts import require_artifact


def test_every_cost_is_within_its_budget() -> None:
    for target in ("higress", "envoy"):
        require_artifact(target)
    measured = list(costs())
    assert [cost for cost in measured if not cost.is_within_budget] == []
    assert len([cost for cost in measured if cost.budget is not None]) == 5


def test_a_cost_above_its_budget_is_seen() -> None:
    assert Cost("x", 101, 100).is_within_budget is False
    assert Cost("x", 100, 100).is_within_budget is True


def test_memory_is_flat() -> None:
    require_artifact("higress")
    measured = list(growths(host_calls=50_000, requests=2_000))
    assert [growth for growth in measured if not growth.is_flat] == []


@pytest.mark.parametrize(("pages", "flat"), [((200, 210, 210), True), ((200, 210, 211), False)])
def test_growth_after_the_warm_up_is_seen(pages: tuple[int, int, int], flat: bool) -> None:
    assert Growth("x", *pages).is_flat is flat
