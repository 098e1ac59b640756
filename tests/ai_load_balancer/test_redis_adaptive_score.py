"""AdaptiveScore with global in-flight counts: what is asked, and what becomes of the replies."""

import pytest
from ai_load_balancer.policies.adaptive_score import AdaptiveScore, Weights
from ai_load_balancer.policies.cluster_metrics import statistics_key
from ai_load_balancer.policies.count_board import CountBoard
from ai_load_balancer.redis_rung import FAILURES_TO_OPEN, PROBE_INTERVAL_MS
from ai_load_balancer.scripts import CLUSTER_ACQUIRE, RELEASE, RENEW, in_flight_keys

from host_sim import Fault, RespError, SteppedRedis, SteppedSimulator

from .test_cluster_drivers import HEADER, HEADERS, SERVICES

REDIS = "outbound|6379||redis.static"
KEYS = list(in_flight_keys(b"", b"fleet|AdaptiveScore"))
BUDGET_MS = 200
LB_CONFIG = {
    "mode": "AdaptiveScore",
    "service_list": SERVICES,
    "global_inflight_enabled": True,
    "global_inflight_key_prefix": "fleet",
    "serviceFQDN": "redis.static",
    "servicePort": 6379,
    "redis_budget_ms": BUDGET_MS,
}
BOARD_AT = len(AdaptiveScore(len(SERVICES), Weights()).empty)


def sha(script):
    return str(script.by_sha[1]).encode()


class Gateway:
    def __init__(self, guest, **lb_config):
        clusters = {"": ["10.0.0.9:80"], **{name: [f"10.0.0.{i}:80"] for i, name in enumerate(SERVICES)}}
        self.redis = SteppedRedis()
        config = {"lb_type": "cluster", "lb_policy": "cluster_metrics", "lb_config": {**LB_CONFIG, **lb_config}}
        self.sim = SteppedSimulator(
            guest,
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
        value = self.sim.gateway.shared.data.items(b"vm").get(
            statistics_key("AdaptiveScore|0.7|0.3", SERVICES, 100), b""
        )
        return list(CountBoard(3).totals(value[BOARD_AT:], self.sim.scheduler.realtime_ns() / 1e6))

    def metric(self, name):
        return self.sim.gateway.shared.metrics.values().get(name, 0)

    def counter(self, rung, outcome):
        return self.metric(f"ailb_decisions_total.policy.cluster_metrics.rung.{rung}.outcome.{outcome}")

    def fallbacks(self, reason):
        return self.metric(f"ailb_fallbacks_total.policy.cluster_metrics.rung.redis.reason.{reason}")

    def finish(self):
        assert not self.metric("proxywasm_exceptions")
        assert not self.metric("ailb_in_flight.policy.cluster_metrics")
        self.sim.finish()


@pytest.fixture
def gateway(higress_guest):
    gateway = Gateway(higress_guest)
    yield gateway
    gateway.finish()


@pytest.mark.shows("key lb_config.global_inflight_key_prefix")
def test_redis_takes_one_of_the_scored_candidates(gateway):
    stream = gateway.send()
    assert stream.paused
    command = gateway.reply([2, 5])
    assert command[:3] == [b"EVALSHA", sha(CLUSTER_ACQUIRE), b"3"]
    assert command[3:6] == KEYS
    assert command[6:8] == [b"1", b"60000"]
    assert command[11::2] == [b"1000000", b"1000000"]  # millionths: nothing is known, nothing in flight
    candidates = [part.decode() for part in command[10::2]]
    assert len(set(candidates)) == 2
    assert set(candidates) < set(SERVICES)
    assert gateway.sent_to(stream) == candidates[1]
    assert gateway.in_flight()[SERVICES.index(candidates[1])] == 1
    gateway.respond(stream)
    assert gateway.reply(1)[1] == sha(RELEASE)
    assert gateway.in_flight() == [0, 0, 0]
    assert gateway.counter("redis", "routed") == 1


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (RespError("ERR no"), "error"),
        ([3, 1], "error"),
        ([0, 1], "error"),
        ([1], "error"),
        (b"x", "error"),
        (Fault.DISCONNECT, "unreachable"),
    ],
)
def test_without_a_usable_reply_the_scores_of_the_gateway_decide(gateway, reply, reason):
    stream = gateway.send()
    gateway.reply(reply)
    assert not stream.paused
    assert gateway.sent_to(stream) in SERVICES
    assert gateway.counter("local", "routed") == 1
    assert gateway.fallbacks(reason) == 1
    assert sum(gateway.in_flight()) == 1
    assert gateway.reply(0)[1] == sha(RELEASE)  # Redis may have granted it
    gateway.respond(stream)
    assert gateway.in_flight() == [0, 0, 0]


def test_a_request_without_redis_gets_its_lease_from_the_next_renewal(gateway):
    stream = gateway.send()
    gateway.reply(RespError("ERR no"))
    gateway.reply(0)
    gateway.sim.advance(21_000)
    command = gateway.reply(1)
    assert command[1] == str(RENEW.by_source[1]).encode()
    assert command[-1].decode() == gateway.sent_to(stream)
    gateway.respond(stream)
    assert gateway.reply(1)[1] == sha(RELEASE)


def test_a_client_that_leaves_before_the_reply_leaves_nothing(gateway):
    stream = gateway.send()
    stream.abort()
    gateway.reply([1, 1])
    assert gateway.reply(1)[1] == sha(RELEASE)
    assert gateway.in_flight() == [0, 0, 0]
    assert gateway.counter("redis", "client_gone") == 1


def test_a_reply_that_is_late_is_not_waited_for_and_its_lease_is_given_back(gateway):
    stream = gateway.send()
    gateway.sim.advance(BUDGET_MS - 1)
    assert stream.paused
    gateway.sim.advance(BUDGET_MS // 4 + 1)
    assert not stream.paused
    assert gateway.sent_to(stream) in SERVICES
    assert gateway.counter("local", "routed") == 1
    assert gateway.fallbacks("slow") == 1
    gateway.reply([1, 1])
    assert gateway.reply(1)[1] == sha(RELEASE)
    gateway.respond(stream)
    assert gateway.in_flight() == [0, 0, 0]


def test_after_failures_in_a_row_redis_is_asked_by_few_until_one_succeeds(gateway):
    for _ in range(FAILURES_TO_OPEN):
        stream = gateway.send()
        gateway.reply(RespError("ERR no"))
        gateway.reply(0)
        gateway.respond(stream)
    for _ in range(3):
        gateway.respond(gateway.send())
    assert gateway.fallbacks("breaker_open") == 3
    assert gateway.counter("local", "routed") == FAILURES_TO_OPEN + 3
    gateway.sim.advance(PROBE_INTERVAL_MS)
    probe = gateway.send()
    gateway.respond(gateway.send())
    assert gateway.fallbacks("breaker_open") == 4
    gateway.reply([1, 1])
    gateway.respond(probe)
    gateway.reply(1)
    again = gateway.send()
    assert again.paused
    gateway.reply([1, 1])
    gateway.respond(again)
    gateway.reply(1)
    assert gateway.counter("redis", "routed") == 2


def test_a_long_stream_renews_its_lease(gateway):
    stream = gateway.send()
    gateway.reply([1, 1])
    gateway.sim.advance(21_000)
    command = gateway.reply(0)
    assert command[1] == str(RENEW.by_source[1]).encode()
    assert command[3:6] == KEYS
    assert sum(gateway.in_flight()) == 1
    gateway.respond(stream)
    gateway.reply(1)


def test_how_long_requests_waited_is_recorded(gateway):
    stream = gateway.send()
    gateway.sim.advance(7)
    gateway.reply([1, 1])
    [waited_us] = gateway.sim.gateway.shared.metrics.samples("ailb_lookup_us.policy.cluster_metrics")
    assert waited_us == pytest.approx(7000, abs=1)
    gateway.respond(stream)
    gateway.reply(1)
