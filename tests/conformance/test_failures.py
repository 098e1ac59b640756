"""A plugin that traps, under each failure policy."""

import time
from collections.abc import Callable

import pytest

from host_sim.gateway import FailurePolicy
from host_sim.testing.hosts import Host

pytestmark = pytest.mark.parametrize("kind", ["wasm", "envoy"])  # a native guest does not trap

RELOAD_TIMEOUT_S = 20.0
POLL_INTERVAL_S = 0.1
TRAP = {"x-trap": "1"}


def test_fail_closed(failing: Callable[[FailurePolicy], Host]) -> None:
    """FAIL_CLOSED: the request that traps is answered with 503, and so is every one that follows"""
    host = failing("FAIL_CLOSED")
    assert [host.request(headers=headers).status for headers in ({}, TRAP, {}, {})] == [200, 503, 503, 503]


def test_fail_open(failing: Callable[[FailurePolicy], Host]) -> None:
    """FAIL_OPEN: the request that traps is answered with 503; the plugin is left out of those that follow"""
    host = failing("FAIL_OPEN")
    assert [host.request(headers=headers).status for headers in ({}, TRAP, {}, TRAP)] == [200, 503, 200, 200]


def test_fail_reload(failing: Callable[[FailurePolicy], Host]) -> None:
    """FAIL_RELOAD: the request that traps is answered with 503; after a while a new VM serves the next ones"""
    host = failing("FAIL_RELOAD")
    assert [host.request(headers=headers).status for headers in ({}, TRAP)] == [200, 503]
    deadline_s = time.monotonic() + RELOAD_TIMEOUT_S
    while host.request().status != 200:
        assert time.monotonic() < deadline_s, "no new VM"
        time.sleep(POLL_INTERVAL_S)
