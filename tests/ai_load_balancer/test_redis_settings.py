"""Which Redis is asked, and how it is logged in to: from the keys of the configuration to the server."""

from collections.abc import Callable
from typing import Any

import pytest
from ai_load_balancer.scripts import ACQUIRE

from host_sim.clock import ManualScheduler
from host_sim.memory_redis import MemoryRedis
from host_sim.virtual import Client, CommandFault, TimedRedis, VirtualSimulator

ACQUIRE_SHA = str(ACQUIRE.by_sha[1]).encode()
ENDPOINTS = ["10.0.0.1:8000", "10.0.0.2:8000"]
PASSWORD = "a secret"
CONFIG = {"serviceFQDN": "redis.static", "servicePort": 6380, "username": "default", "password": PASSWORD}
CLUSTER = "outbound|6380||redis.static"


class Gateway:
    def __init__(self, guest: str, fault: Callable[[list[bytes]], CommandFault | None], **lb_config: Any) -> None:
        scheduler = ManualScheduler()
        self.memory = MemoryRedis(scheduler.realtime_ns, PASSWORD)
        config = {"lb_policy": "global_least_request", "lb_config": {**CONFIG, **lb_config}}
        redis = {CLUSTER: TimedRedis(self.memory, scheduler, fault=fault)}
        self.sim = VirtualSimulator(
            guest, "higress", config, {"llm": ENDPOINTS}, redis, scheduler=scheduler, route_name="route"
        )

    def deciding_rung(self) -> str:
        """Plays a request; who decided it."""
        assert self.sim.request(Client()).status == 200
        decided = [name for name in self.sim.gateway.shared.metrics.values() if name.startswith("ailb_decisions_total")]
        return decided[-1].split(".")[4]


def no_fault(command: list[bytes]) -> None:
    return None


@pytest.mark.shows(
    "key lb_config.serviceFQDN",
    "key lb_config.servicePort",
    "key lb_config.username",
    "key lb_config.password",
    "key lb_config.database",
)
def test_the_counts_are_in_the_database_of_that_server(higress_guest: str) -> None:
    gateway = Gateway(higress_guest, no_fault, database=3)
    seen: list[bool] = []
    execute = gateway.memory.execute

    def watched(store: Any, command: list[bytes]) -> Any:
        seen.append(store is gateway.memory.databases[3])
        return execute(store, command)

    gateway.memory.execute = watched  # type: ignore[method-assign]
    assert gateway.deciding_rung() == "redis"
    assert seen
    assert all(seen)
    gateway.sim.finish()


@pytest.mark.shows("key lb_config.username", "key lb_config.password")
@pytest.mark.parametrize("wrong", [{"username": "another"}, {"password": "another"}])
def test_who_cannot_log_in_is_decided_by_the_gateway(higress_guest: str, wrong: dict[str, str]) -> None:
    gateway = Gateway(higress_guest, no_fault, **wrong)
    assert gateway.deciding_rung() == "local"
    assert not any(PASSWORD in str(record) for record in gateway.sim.gateway.logs)
    gateway.sim.finish()


@pytest.mark.shows("key lb_config.timeout")
@pytest.mark.parametrize("timeout_ms", [500, 2000])
def test_a_call_without_a_reply_ends_with_the_timeout(higress_guest: str, timeout_ms: int) -> None:
    """The request has gone on before, when its budget was spent; then its lease is given back."""
    gateway = Gateway(
        higress_guest, lambda command: CommandFault.NEVER if command[1] == ACQUIRE_SHA else None, timeout=timeout_ms
    )
    assert gateway.deciding_rung() == "local"
    assert 0 < gateway.sim.now_ms < 500
    gateway.sim.settle()
    assert timeout_ms < gateway.sim.now_ms < timeout_ms + 5
    gateway.sim.finish()
