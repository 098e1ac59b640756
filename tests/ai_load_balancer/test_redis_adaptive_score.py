"""AdaptiveScore with global in-flight counts: what is asked, and what becomes of the replies."""

import json

import pytest
from ai_load_balancer.policies.cluster_metrics import statistics_key
from ai_load_balancer.policies.count_board import CountBoard
from ai_load_balancer.scripts import CLUSTER_ACQUIRE, RELEASE, RENEW, in_flight_keys

from host_sim import Fault, RespError, SteppedRedis, SteppedSimulator

from .test_cluster_drivers import HEADER, HEADERS, SERVICES, built

REDIS = "outbound|6379||redis.static"
KEYS = list(in_flight_keys(b"r", b"fleet|AdaptiveScore"))
BOARD = statistics_key("in_flight", SERVICES, 0)


def sha(script):
    return str(script.by_sha[1]).encode()


class Gateway:
    def __init__(self):
        clusters = {"": ["10.0.0.9:80"], **{name: [f"10.0.0.{i}:80"] for i, name in enumerate(SERVICES)}}
        self.redis = SteppedRedis()
        config = json.dumps({"services": SERVICES, "redis": REDIS})
        self.sim = SteppedSimulator(
            built(),
            "higress",
            config,
            clusters,
            {REDIS: self.redis},
            cluster_name="",
            cluster_header=HEADER,
            route_name="r",
        )

    def send(self):
        stream = self.sim.open_stream()
        stream.request_headers(HEADERS, end_of_stream=True)
        return stream

    def reply(self, value):
        """Answers the oldest command, and returns it."""
        command = self.sim.redis_commands()[0]
        self.sim.deliver_redis(value)
        return command

    def sent_to(self, stream):
        return dict(self.sim.observe(stream).upstream_headers or [])[HEADER]

    def respond(self, stream):
        stream.response_headers({":status": "200"}, end_of_stream=False)
        stream.response_body(b"data", end_of_stream=True)

    def in_flight(self):
        value = self.sim.gateway.shared.data.items(b"vm").get(BOARD)
        return list(CountBoard(3).totals(value, self.sim.scheduler.realtime_ns() // 1_000_000))

    def counter(self, rung, outcome):
        name = f"ailb_decisions_total.policy.cluster_metrics.rung.{rung}.outcome.{outcome}"
        return self.sim.gateway.shared.metrics.values().get(name, 0)

    def finish(self):
        assert "proxywasm_exceptions" not in self.sim.gateway.shared.metrics.values()
        self.sim.finish()


@pytest.fixture
def gateway():
    gateway = Gateway()
    yield gateway
    gateway.finish()


def test_redis_takes_one_of_the_scored_candidates(gateway):
    stream = gateway.send()
    assert stream.paused
    command = gateway.reply([2, 5])
    assert command[:3] == [b"EVALSHA", sha(CLUSTER_ACQUIRE), b"3"]
    assert command[3:6] == KEYS
    assert command[6:8] == [b"1", b"60000"]
    assert command[11::2] == [b"1.0", b"1.0"]  # nothing is known, nothing in flight
    candidates = [part.decode() for part in command[10::2]]
    assert len(set(candidates)) == 2
    assert set(candidates) < set(SERVICES)
    assert gateway.sent_to(stream) == candidates[1]
    assert gateway.in_flight()[SERVICES.index(candidates[1])] == 1
    gateway.respond(stream)
    assert gateway.reply(1)[1] == sha(RELEASE)
    assert gateway.in_flight() == [0, 0, 0]
    assert gateway.counter("redis", "routed") == 1


@pytest.mark.parametrize("reply", [RespError("ERR no"), [3, 1], [0, 1], [1], b"x", Fault.DISCONNECT])
def test_without_a_usable_reply_the_scores_of_the_gateway_decide(gateway, reply):
    stream = gateway.send()
    gateway.reply(reply)
    assert not stream.paused
    assert gateway.sent_to(stream) in SERVICES
    assert gateway.counter("local", "routed") == 1
    assert sum(gateway.in_flight()) == 1
    assert gateway.reply(0)[1] == sha(RELEASE)
    gateway.respond(stream)
    assert gateway.in_flight() == [0, 0, 0]


def test_a_client_that_leaves_before_the_reply_leaves_nothing(gateway):
    stream = gateway.send()
    stream.abort()
    gateway.reply([1, 1])
    assert gateway.reply(1)[1] == sha(RELEASE)
    assert gateway.in_flight() == [0, 0, 0]
    assert gateway.counter("redis", "client_gone") == 1


def test_a_long_stream_renews_its_lease(gateway):
    stream = gateway.send()
    gateway.reply([1, 1])
    gateway.sim.advance(20_000)
    command = gateway.reply(0)
    assert command[1] == sha(RENEW)
    assert command[3:6] == KEYS
    assert sum(gateway.in_flight()) == 1
    gateway.respond(stream)
    gateway.reply(1)
