"""The long run with everything failing, at a scale that a test can afford, and that its rules notice mistakes."""

import secrets
from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

import pytest
from ai_load_balancer.scripts import ACQUIRE

from bench.faults import BrokenRule, FaultRun
from bench.faults.cases import CASES, ROUTE
from bench.faults.rules import limit_is_kept, redis_agrees_with_itself
from bench.faults.twice import play_repeatedly
from bench.faults.views import RedisView
from bench.requests import CLUSTER
from host_sim import SimulatorError
from host_sim.memory_redis import MemoryRedis
from tests.artifacts import require_artifact
from tests.bench import mistakes
from tests.bench.mistakes import NATIVE, Load, Spoilt

REQUESTS = 400
CLIENT_EVERY_MS = 30.0  # so that few requests see outages, losses of data, deaths and renewals of leases

LEAST = "global_least_request"
LIMITED = "global_least_request with a limit"
ON_ENVOY = "global_least_request on Envoy"


@pytest.mark.shows("defect 2", "defect 3")
@pytest.mark.parametrize("name", CASES)
def test_every_rule_holds_and_a_run_repeats_in_another_process(name: str) -> None:
    case = CASES[name]
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    guests = {case.target: require_artifact(case.target)}
    ((first, second),) = play_repeatedly(guests, [case], seed, REQUESTS, 2, 2, CLIENT_EVERY_MS)
    report = first.report
    assert report.digest == second.report.digest
    assert report == second.report
    assert sum(report.outcomes.values()) > REQUESTS
    complete = report.outcomes["chosen 200 complete"] + report.outcomes["proxy 200 complete"]
    assert complete > REQUESTS / 4
    assert report.decisions[f"{case.rung} routed"] > REQUESTS / 4
    assert {name for name in report.decisions if name.startswith("proxy ")} <= {"proxy incomplete"}
    assert report.faults["a VM died"] > 0
    assert report.faults["the configuration changed"] > 0
    if case.target == "higress":
        assert report.decisions["local routed"] > 0
        assert report.faults["redis outage"] > 0
        assert report.faults["redis lost its data"] > 0


def test_other_seeds_are_other_runs() -> None:
    assert FaultRun(NATIVE, 1).play(50).digest != FaultRun(NATIVE, 2).play(50).digest


@pytest.mark.parametrize(
    ("mistake", "name", "rule"),
    [
        (mistakes.no_mistake, LEAST, ""),
        (mistakes.no_mistake, LIMITED, ""),
        (mistakes.no_mistake, ON_ENVOY, ""),
        (mistakes.forgets_to_give_back, LEAST, "no lease is renewed when nothing is in flight"),
        (mistakes.forgets_to_renew, LEAST, "the counts are what is in flight"),
        (mistakes.forgets_lost_leases, LEAST, "no lease is renewed when nothing is in flight"),
        (mistakes.holds_beyond_the_budget, LEAST, "no request is held longer than"),
        (mistakes.holds_after_errors, LEAST, "no request is held longer than|nothing ends what is waited for"),
        (mistakes.raises, LEAST, "no callback of the plugin raised"),
        (mistakes.counts_decisions_twice, LEAST, "one decision is counted for every request"),
        (mistakes.chooses_the_first, LEAST, "the requests are spread evenly"),
        (mistakes.asks_for_one_too_many, LIMITED, "the limit of 12 is kept"),
        (mistakes.forgets_to_uncount_here, ON_ENVOY, "the gateway counts nothing when nothing is in flight"),
    ],
)
def test_a_mistake_breaks_a_rule(mistake: Callable[[Load], None], name: str, rule: str) -> None:
    run = FaultRun(Spoilt(mistake), 5, case=CASES[name])
    if not rule:
        run.play(600)
        return
    with pytest.raises((BrokenRule, SimulatorError), match=rule):
        run.play(600)


def test_a_broken_rule_names_the_seed() -> None:
    with pytest.raises(BrokenRule) as caught:
        FaultRun(Spoilt(mistakes.raises), 12345).play(10)
    assert "seed 12345" in caught.value.__notes__[0]


Entries: TypeAlias = dict[bytes, bytes]
LEASE = b"1 10.0.0.1:80"


@pytest.mark.parametrize(
    ("counts", "leases", "expiries", "rule"),
    [
        ({}, {b"a": LEASE}, [b"a"], "the sum"),
        ({b"10.0.0.1:80": b"2"}, {b"a": LEASE}, [b"a"], "the sum"),
        ({b"10.0.0.1:80": b"0"}, {}, [], "the sum"),
        ({b"10.0.0.1:80": b"1"}, {b"a": LEASE}, [], "expiry"),
        ({b"10.0.0.1:80": b"1"}, {b"a": LEASE}, [b"a", b"b"], "expiry"),
        ({b"10.0.0.1:80": b"1"}, {b"a": LEASE}, [b"a"], None),
        ({}, {}, [], None),
    ],
)
def test_redis_is_checked(counts: Entries, leases: Entries, expiries: list[bytes], rule: str | None) -> None:
    memory = MemoryRedis()
    store = memory.databases[0]
    keys = CASES[LEAST].keys
    assert keys[0] == f"ailb:{{{ROUTE}|{CLUSTER}}}:in_flight".encode()
    for key, content in ((keys[0], counts), (keys[1], leases)):
        if content:
            store.hash(key, make=True).update(content)
    for lease in expiries:
        store.sorted_set(keys[2], make=True).add(lease, 1e15)
    view = RedisView(memory, keys)
    if rule is None:
        redis_agrees_with_itself(view)
        assert view.live_counts() == dict(Counter(held.decode().split()[1] for held in leases.values()))
    else:
        with pytest.raises(BrokenRule, match=rule):
            redis_agrees_with_itself(view)


@pytest.mark.parametrize("reply", [[1, 13], [0, 11]])
def test_the_limit_is_checked(reply: list[int]) -> None:
    command = [str(part).encode() for part in ACQUIRE.by_sha]
    limit_is_kept(12, command, [1, 12])
    limit_is_kept(12, command, [0, 12])
    with pytest.raises(BrokenRule, match="limit"):
        limit_is_kept(12, command, reply)  # type: ignore[arg-type]
