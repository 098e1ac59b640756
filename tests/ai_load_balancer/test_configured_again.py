"""A new configuration while requests are under way: each stays with the policy that it has until it ends."""

import json

import pytest

from host_sim import SteppedRedis, SteppedSimulator

CLUSTER, REDIS = "outbound|80||llm.dns", "outbound|6379||redis.static"
ENDPOINTS = ["10.0.0.1:80", "10.0.0.2:80"]
HEADERS = {":method": "POST", ":path": "/v1/chat/completions", ":authority": "llm", "content-type": "application/json"}
BODY = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'
LEAST_REQUEST = {"lb_policy": "global_least_request"}


class Gateway:
    def __init__(self, guest, config):
        self.sim = SteppedSimulator(guest, "higress", config, {CLUSTER: ENDPOINTS}, {REDIS: SteppedRedis()})

    def configure(self, config):
        vm = self.sim.vm
        assert vm.root is not None
        assert vm.configure(vm.root, json.dumps(config).encode()) == 1

    def send(self, end_of_stream=True):
        stream = self.sim.open_stream()
        stream.request_headers(HEADERS, end_of_stream)
        return stream

    def finish(self, *streams):
        for stream in streams:
            stream.response_headers({":status": "200"}, end_of_stream=True)
        while self.sim.redis_commands():
            self.sim.deliver_redis(1)
        assert "proxywasm_exceptions" not in self.sim.gateway.shared.metrics.values()
        self.sim.finish()

    def renewals(self, lease):
        """How often the lease is renewed in 70 seconds."""
        count = 0
        for _ in range(70):
            self.sim.advance(1000)
            while self.sim.redis_commands():
                count += lease in self.sim.redis_commands()[0]
                self.sim.deliver_redis(0)
        return count


def config(policy="global_least_request", **lb_config):
    return {"lb_policy": policy, "lb_config": {"serviceFQDN": "redis.static", "servicePort": 6379, **lb_config}}


def with_rules(number):
    rules = [{**config(), "_match_domain_": ["llm" if i == 0 else f"d{i}"]} for i in range(number)]
    return {"_rules_": rules}


def lease_of(command):
    return command[-4]  # the id, a random number, two endpoints


@pytest.mark.parametrize("number", [1, 70])
def test_however_many_rules_there_are(higress_guest, number):
    gateway = Gateway(higress_guest, with_rules(number))
    routed = gateway.send()
    lease = lease_of(gateway.sim.redis_commands()[0])
    gateway.sim.deliver_redis([1, 1])
    held = gateway.send()
    gateway.configure(with_rules(number))
    gateway.sim.advance(300)
    assert not held.paused
    gateway.sim.deliver_redis([2, 1])  # too late
    assert gateway.renewals(lease) >= 3
    gateway.finish(routed, held)


def test_a_body_that_is_on_its_way(higress_guest):
    gateway = Gateway(higress_guest, config("prefix_cache"))
    stream = gateway.send(end_of_stream=False)
    stream.request_body(BODY[:9], end_of_stream=False)
    gateway.configure(config())
    gateway.sim.advance(5000)
    stream.request_body(BODY[9:], end_of_stream=True)
    lease = lease_of(gateway.sim.redis_commands()[0])
    gateway.sim.deliver_redis([1, 1, 0])
    assert gateway.renewals(lease) >= 3
    gateway.finish(stream)


def test_policies_with_one_redis_share_its_connection(higress_guest):
    """A gateway keeps one setting for each Redis: the first policy's, and the log says so."""
    rules = [
        {**config(database=1), "_match_domain_": ["llm"]},
        {**config(database=2, password="s3cret", redis_budget_ms=50), "_match_domain_": ["other"]},
    ]
    gateway = Gateway(higress_guest, {"_rules_": rules})
    inits = [call for call in gateway.sim.vm.trace.host_calls if call.function == "proxy_redis_init"]
    assert [call.arguments[0].partition(b"&")[0] for call in inits] == [f"{REDIS}?db=1".encode()]
    told = [record.message for record in gateway.sim.gateway.logs]
    for key in ("database", "password"):
        assert any(f"lb_config.{key}: differs for {REDIS}" in line for line in told)
    assert not any("s3cret" in line for line in told)
    gateway.finish()
