"""The long run with everything failing, at a scale that a test can afford, and that its rules notice mistakes."""

import secrets
from collections import Counter
from pathlib import Path
from typing import TypeAlias

import pytest
from ai_load_balancer.scripts import in_flight_keys

from bench.faults import BrokenRule, FaultRun
from bench.faults.rules import RedisView, redis_agrees_with_itself
from bench.faults.twice import play_repeatedly
from host_sim import SimulatorError
from host_sim.memory_redis import MemoryRedis
from tests.artifacts import require_artifact

REQUESTS = 1000
CLIENT_EVERY_MS = 30.0  # so that few requests see outages, losses of data and renewals of leases
PLUGINS = Path(__file__).resolve().parents[1] / "plugins"
NATIVE = "ai_load_balancer.plugin:AiLoadBalancer"


def one_worker(guest: str, seed: int) -> FaultRun:
    return FaultRun(guest, seed, CLIENT_EVERY_MS, workers=None)


def test_every_rule_holds_and_a_run_repeats_in_another_process() -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    played = play_repeatedly(require_artifact("higress"), seed, REQUESTS, 2, 2, CLIENT_EVERY_MS)
    first, second = (timed.report for timed in played)
    assert first.digest == second.digest
    assert first == second
    assert sum(first.outcomes.values()) > REQUESTS
    assert first.outcomes["chosen 200 complete"] > REQUESTS / 4
    assert first.outcomes["proxy 200 complete"] == 0  # without Redis, the gateway's own counts decide
    assert first.faults["redis outage"] > 2
    assert first.faults["redis lost its data"] > 1


def test_other_seeds_are_other_runs() -> None:
    assert one_worker(NATIVE, 1).play(50).digest != one_worker(NATIVE, 2).play(50).digest


@pytest.mark.parametrize("seed", range(3))
def test_the_plugin_in_plain_python_keeps_the_rules_too(seed: int) -> None:
    report = one_worker(NATIVE, seed).play(300)
    assert report.crossings > 300


@pytest.mark.parametrize(
    ("mistake", "rule"),
    [
        ("NoMistake", None),
        ("ForgetsToGiveBack", "no lease is renewed when nothing is in flight"),
        ("HoldsAfterErrors", "nothing ends what is waited for"),
        ("Raises", "no callback of the plugin raised"),
        ("ChoosesTheFirst", "the requests are spread evenly"),
        ("ForgetsToRenew", "the counts are what is in flight"),
    ],
)
def test_a_mistake_breaks_a_rule(mistake: str, rule: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGINS))
    run = one_worker(f"mistaken:{mistake}", 5)
    if rule is None:
        run.play(600)
        return
    with pytest.raises((BrokenRule, SimulatorError), match=rule):
        run.play(600)


def test_a_broken_rule_names_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGINS))
    with pytest.raises(BrokenRule) as caught:
        one_worker("mistaken:Raises", 12345).play(10)
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
    keys = in_flight_keys(b"route", b"llm")
    for key, content in ((keys[0], counts), (keys[1], leases)):
        if content:
            store.hash(key, make=True).update(content)
    for lease in expiries:
        store.sorted_set(keys[2], make=True).add(lease, 1e15)
    view = RedisView(memory, "route", "llm")
    if rule is None:
        redis_agrees_with_itself(view)
        assert view.live_counts() == dict(Counter(held.decode().split()[1] for held in leases.values()))
    else:
        with pytest.raises(BrokenRule, match=rule):
            redis_agrees_with_itself(view)
