"""Equals are drawn uniformly, by chi-square over 3,000 decisions of a gateway: by Redis, and by the gateway itself.

Every request ends before the next one comes, so all endpoints are equal. The Redis is the one in this process, which
runs the same scripts. The seed is that of the guest's randomness, which draws.
"""

import json

import pytest

from host_sim.clock import ManualScheduler
from host_sim.memory_redis import MemoryRedis
from host_sim.virtual import TimedRedis, VirtualSimulator

from .fairness import assert_uniform

CLUSTER = "outbound|80||llm.dns"
REDIS = "outbound|6379||redis.static"
ENDPOINTS = ("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
OWNERS = "\n".join(ENDPOINTS[:2]).encode()
HEADERS = {"content-type": "application/json"}
DECISIONS = 3000
SEED = 7


class Gateway:
    """One whose requests are decided on the `rung`."""

    def __init__(self, guest, policy, rung):
        print(f"seed {SEED}")
        self.rung = rung
        self.policy = policy
        self.asked = 0
        scheduler = ManualScheduler()
        self.memory = MemoryRedis(scheduler.realtime_ns)
        redis = {REDIS: TimedRedis(self.memory, scheduler) if rung == "redis" else None}
        config = {"lb_policy": policy, "lb_config": {"serviceFQDN": "redis.static", "servicePort": 6379}}
        clusters = {CLUSTER: list(ENDPOINTS)}
        self.sim = VirtualSimulator(guest, "higress", config, clusters, redis, seed=SEED, scheduler=scheduler)

    def ask(self, content):
        self.asked += 1
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode()
        exchange = self.sim.request(method="POST", path="/v1/chat/completions", headers=HEADERS, body=[body])
        assert exchange.overridden
        return exchange.endpoint

    def choices(self, prompt=None):
        """Where 3,000 requests went; `prompt` is that of all, by default each has its own."""
        chosen = []
        for i in range(DECISIONS):
            content = prompt if prompt is not None else f"prompt {i}"
            chosen.append(self.ask(content))
        metrics = self.sim.gateway.shared.metrics.values()
        name = f"ailb_decisions_total.policy.{self.policy}.rung.{self.rung}.outcome.routed"
        assert metrics[name] == self.asked
        self.sim.finish()
        return chosen

    def learn_owners(self, prompt):
        """The prompt is known to two endpoints."""
        self.ask(prompt)
        if self.rung == "redis":
            store = self.memory.databases[0]
            found = self.memory.execute(store, [b"KEYS", b"*}:prefix:*"])
            assert isinstance(found, list)
            (key,) = found
            assert isinstance(key, bytes)
            self.memory.execute(store, [b"SET", key, OWNERS])
        else:
            data = self.sim.gateway.shared.data
            ((slot, value),) = [item for item in data.items(b"vm").items() if item[0].startswith(b"ailb:prefix:")]
            data.set(b"vm", slot, value[: -len(ENDPOINTS[0])] + OWNERS, 0)


@pytest.fixture(params=["redis", "local"])
def rung(request):
    return request.param


@pytest.mark.parametrize("policy", ["global_least_request", "prefix_cache", "endpoint_hash"])
def test_endpoints(higress_guest, policy, rung):
    """A prompt that nobody knows; no session."""
    assert_uniform(Gateway(higress_guest, policy, rung).choices(), ENDPOINTS)


def test_owners_of_a_prompt(higress_guest, rung):
    gateway = Gateway(higress_guest, "prefix_cache", rung)
    gateway.learn_owners("the same")
    assert_uniform(gateway.choices("the same"), ENDPOINTS[:2])
