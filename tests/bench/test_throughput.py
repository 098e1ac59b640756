"""The measurement itself; how fast a machine is, no test can say."""

import pytest

from bench.throughput import BUDGET_PER_S, Throughput, throughput
from host_sim.abi import ABI_HIGRESS
from tests.artifacts import require_artifact
from tests.host_sim.guests import ScriptedGuest


def test_requests_are_measured_while_others_are_in_flight() -> None:
    measured = throughput(require_artifact("higress"), requests=100)
    assert measured.requests == 100
    assert measured.at_once_max > 10
    assert measured.cpu_s > 0


def test_requests_that_the_plugin_does_not_route_are_no_measurement() -> None:
    with pytest.raises(RuntimeError, match="not routed"):
        throughput(lambda target, host, environment: ScriptedGuest({}, ABI_HIGRESS, host), requests=1)


@pytest.mark.parametrize(("requests", "within"), [(BUDGET_PER_S, True), (BUDGET_PER_S - 1, False)])
def test_the_budget(requests: int, within: bool) -> None:
    assert Throughput(requests, 1.0, 1).is_within_budget is within
