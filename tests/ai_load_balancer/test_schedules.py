"""Ten thousand random schedules: arrivals, aborts, faults of Redis, upstreams and the gateway; nothing is left over."""

import secrets
from collections.abc import Callable

import pytest
from ai_load_balancer.scripts import RELEASE

from bench.faults import BrokenRule
from bench.faults.cases import CASES, ROUTE, Case
from bench.faults.redis_chaos import RENEW_COMMANDS, WatchedRedis
from bench.faults.schedules import ScheduleRun
from bench.faults.views import RedisView
from bench.requests import REDIS
from host_sim.clock import ManualScheduler
from host_sim.setup import GuestSource
from host_sim.virtual import AFTER_REQUEST, Client, TimedRedis, VirtualSimulator
from tests.artifacts import require_artifact
from tests.bench import mistakes
from tests.bench.mistakes import NATIVE, Load, Spoilt

IN_PYTHON, IN_WASM = 10_000, 350  # shared by the cases
LEAST = CASES["global_least_request"]
ON_ENVOY = CASES["global_least_request on Envoy"]


@pytest.mark.shows(
    "policy global_least_request",
    "policy prefix_cache",
    "policy endpoint_hash",
    "policy cluster_metrics",
    "defect 2",
    "defect 3",
)
@pytest.mark.parametrize("kind", ["native", "wasm"])
@pytest.mark.parametrize("name", CASES)
def test_nothing_is_left_after_any_schedule(name: str, kind: str) -> None:
    case = CASES[name]
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    schedules = -(-(IN_PYTHON if kind == "native" else IN_WASM) // len(CASES))
    run = ScheduleRun(NATIVE if kind == "native" else str(require_artifact(case.target)), seed, case)
    report = run.play_schedules(schedules)
    assert report.requests > 2 * schedules
    assert run.harmless > schedules / 10
    assert report.decisions["local routed"] > 0
    assert report.decisions[f"{case.rung} routed"] > schedules / 2


@pytest.mark.parametrize(
    ("mistake", "case", "rule"),
    [
        (mistakes.forgets_to_give_back, LEAST, "no lease lives when nothing is in flight"),
        (mistakes.counts_decisions_twice, LEAST, "one decision is counted for every request"),
        (mistakes.forgets_to_uncount_here, ON_ENVOY, "the gateway counts nothing when nothing is in flight"),
    ],
)
def test_a_mistake_is_found(mistake: Callable[[Load], None], case: Case, rule: str) -> None:
    with pytest.raises(BrokenRule, match=rule) as caught:
        ScheduleRun(Spoilt(mistake), 1, case).play_schedules(500)
    assert "seed 1, schedule " in caught.value.__notes__[0]


def live_after_a_renewal(guest: GuestSource) -> dict[str, int]:
    """The counts when a client left while the reply to a renewal was on its way; Redis did not know the script."""
    scheduler = ManualScheduler()
    memory = WatchedRedis(scheduler.realtime_ns)
    leases = RedisView(memory, LEAST.keys)
    seen: list[bytes] = []
    memory.watch = lambda command, reply: seen.append(command[1]) if len(command) > 1 else None
    with VirtualSimulator(
        guest,
        LEAST.target,
        LEAST.configuration(),
        LEAST.clusters,
        {REDIS: TimedRedis(memory, scheduler)},
        lambda request: [AFTER_REQUEST, 1e9],
        scheduler=scheduler,
        route_name=ROUTE,
    ) as sim:
        request = sim.send(Client())
        sim.run(lambda: bool(leases.live_counts()))
        memory.scripts.flush()
        memory.scripts.load(str(RELEASE.by_source[1]).encode())
        sim.run(lambda: any(name in RENEW_COMMANDS for name in seen))
        request.leave()
        sim.settle()
        return leases.live_counts()


def test_a_renewal_does_not_overtake_the_release() -> None:
    assert live_after_a_renewal(NATIVE) == {}
    assert live_after_a_renewal(Spoilt(mistakes.lets_renewals_overtake)) != {}
