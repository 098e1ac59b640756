import asyncio
from dataclasses import replace

import pytest

from host_sim.demo import Play, main, play
from tests.artifacts import require_artifact


@pytest.fixture(scope="module")
def good() -> Play:
    require_artifact("envoy")
    return asyncio.run(play("envoy", None))


def test_the_demo_succeeds_on_both_targets(capsys: pytest.CaptureFixture[str]) -> None:
    require_artifact("higress")
    require_artifact("envoy")
    assert main() == 0
    assert "one whole request" in capsys.readouterr().out


def test_nothing_is_wrong_with_a_good_play(good: Play) -> None:
    assert good.problems() == []


def test_a_count_that_is_left_is_a_problem(good: Play) -> None:
    assert replace(good, in_flight_at_end={"127.0.0.1:1": 2}).problems() == ["2 still counted at 127.0.0.1:1"]


def test_a_lost_request_is_a_problem(good: Play) -> None:
    [problem] = replace(good, exchanges=good.exchanges[1:]).problems()
    assert problem.startswith("requests are not 60")


def test_a_failed_request_is_a_problem(good: Play) -> None:
    failed = replace(good.exchanges[0], status=503, chunks=[b"no"])
    problems = replace(good, exchanges=[failed, *good.exchanges[1:]]).problems()
    assert problems == ["a request ended with 503", "a reply is cut off: b'no'"]


def test_a_request_that_the_filter_did_not_route_is_a_problem(good: Play) -> None:
    passed_through = replace(good.exchanges[0], overridden=False)
    problems = replace(good, exchanges=[passed_through, *good.exchanges[1:]]).problems()
    assert problems == ["the proxy's own balancing chose the endpoint of a request"]


def test_a_logged_warning_is_a_problem(good: Play) -> None:
    assert replace(good, complaints=["[WARN] no"]).problems() == ["logged: [WARN] no"]
