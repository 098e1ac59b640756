"""Memory that stays flat, at a scale that a test can afford; `./build.sh bench memory` runs the whole."""

import pytest

from bench.memory import Growth, growths
from tests.artifacts import require_artifact


def test_memory_is_flat() -> None:
    require_artifact("higress")
    measured = list(growths(host_calls=50_000, requests=2_000))
    assert [growth for growth in measured if not growth.is_flat] == []


@pytest.mark.parametrize(("pages", "flat"), [((200, 210, 210), True), ((200, 210, 211), False)])
def test_growth_after_the_warm_up_is_seen(pages: tuple[int, int, int], flat: bool) -> None:
    assert Growth("x", *pages).is_flat is flat
