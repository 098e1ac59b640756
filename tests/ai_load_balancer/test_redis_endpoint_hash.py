"""endpoint_hash on a gateway with Redis: what is asked, and what becomes of the replies."""

from collections import Counter

import pytest
from ai_load_balancer.policies.endpoint_hash import EndpointHash
from ai_load_balancer.scripts import ACQUIRE, ACQUIRE_BOUNDED, RELEASE, in_flight_keys

from host_sim import RespError, SteppedRedis, SteppedSimulator

REDIS = "outbound|6379||redis.static"
CLUSTER = "outbound|80||llm.dns"
ENDPOINTS = ("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
HEADERS = {":method": "POST", ":path": "/v1/chat/completions", ":authority": "llm"}
KEYS = list(in_flight_keys(b"route", CLUSTER.encode()))
SESSION = "consumer-0"
ORDER = EndpointHash().order(ENDPOINTS, SESSION)


def sha(script):
    return str(script.by_sha[1]).encode()


class Gateway:
    def __init__(self, guest):
        self.redis = SteppedRedis()
        lb_config = {"serviceFQDN": "redis.static", "servicePort": 6379}
        config = {"lb_policy": "endpoint_hash", "lb_config": lb_config}
        clusters = {CLUSTER: list(ENDPOINTS)}
        self.sim = SteppedSimulator(guest, "higress", config, clusters, {REDIS: self.redis}, route_name="route")

    def send(self, **headers):
        stream = self.sim.open_stream()
        stream.request_headers({**HEADERS, **headers}, end_of_stream=True)
        assert stream.paused
        return stream

    def reply(self, value):
        """Answers the oldest command, and returns it."""
        command = self.sim.redis_commands()[0]
        self.sim.deliver_redis(value)
        return command

    def end(self, stream):
        """Ends the request; returns the command that this sends."""
        stream.response_headers({":status": "200"}, end_of_stream=True)
        return self.reply(1)

    def finish(self):
        assert "proxywasm_exceptions" not in self.sim.gateway.shared.metrics.values()
        self.sim.finish()


@pytest.fixture
def gateway(higress_guest):
    gateway = Gateway(higress_guest)
    yield gateway
    gateway.finish()


@pytest.mark.shows("policy endpoint_hash", "key lb_config.hash_header")
def test_a_session_asks_for_its_endpoints_in_its_order(gateway):
    stream = gateway.send(**{"x-mse-consumer": SESSION})
    command = gateway.reply([1, 1])
    assert command[:3] == [b"EVALSHA", sha(ACQUIRE_BOUNDED), b"3"]
    assert command[3:6] == KEYS
    assert command[6:9] == [b"1", b"60000", b"1.25"]
    assert tuple(part.decode() for part in command[12:]) == ORDER
    assert stream.endpoint.address == ORDER[0]
    assert gateway.end(stream)[1] == sha(RELEASE)


def test_the_reply_counts_in_that_order(gateway):
    for position in (1, 2, 3):
        stream = gateway.send(**{"x-mse-consumer": SESSION})
        gateway.reply([position, 1])
        assert stream.endpoint.address == ORDER[position - 1]
        gateway.end(stream)
    assert ORDER != ENDPOINTS  # or the test could not fail


@pytest.mark.parametrize("headers", [{}, {"x-mse-consumer": ""}])
def test_without_a_session_the_least_loaded_is_asked_for_on_the_same_counts(gateway, headers):
    stream = gateway.send(**headers)
    command = gateway.reply([2, 1])
    assert command[1] == sha(ACQUIRE)
    assert command[3:6] == KEYS
    assert stream.endpoint.address == ENDPOINTS[1]
    gateway.end(stream)


@pytest.mark.parametrize("reply", [RespError("ERR no"), [4, 1], [1], b"x", None])
def test_after_a_reply_that_cannot_be_used_the_gateway_prefers_the_same_endpoint(gateway, reply):
    stream = gateway.send(**{"x-mse-consumer": SESSION})
    gateway.reply(reply)
    assert not stream.paused
    assert stream.endpoint.address == ORDER[0]
    assert gateway.reply(0)[1] == sha(RELEASE)
    stream.response_headers({":status": "200"}, end_of_stream=True)


@pytest.mark.shows("key lb_config.load_factor")
def test_the_gateways_own_choice_keeps_the_bound(gateway):
    streams = []
    for _ in range(5):
        streams.append(gateway.send(**{"x-mse-consumer": SESSION}))
        gateway.reply(RespError("ERR no"))
        gateway.reply(0)  # the release
    counts = Counter(stream.endpoint.address for stream in streams)
    assert [counts[endpoint] for endpoint in ORDER] == [3, 2, 0]
    for stream in streams:
        stream.response_headers({":status": "200"}, end_of_stream=True)


def test_sessions_spread(gateway):
    counts: Counter[bytes] = Counter()
    for i in range(300):
        stream = gateway.send(**{"x-mse-consumer": f"consumer-{i}"})
        counts[gateway.reply([1, 1])[12]] += 1
        gateway.end(stream)
    assert set(counts) == {endpoint.encode() for endpoint in ENDPOINTS}
    assert min(counts.values()) > 70
