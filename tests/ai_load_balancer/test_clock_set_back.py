"""The gateway's clock is set back by an hour while requests wait and live: nothing stops for that hour."""

import pytest

from host_sim import SteppedRedis, SteppedSimulator

HOUR_MS = 3_600_000
CLUSTER, REDIS = "outbound|80||llm.dns", "outbound|6379||redis.static"
ENDPOINTS = ["10.0.0.1:80", "10.0.0.2:80"]
HEADERS = {":method": "POST", ":path": "/v1/chat/completions", ":authority": "llm", "content-type": "application/json"}


@pytest.fixture
def higress(higress_guest):
    config = {"lb_policy": "global_least_request", "lb_config": {"serviceFQDN": "redis.static", "servicePort": 6379}}
    sim = SteppedSimulator(higress_guest, "higress", config, {CLUSTER: ENDPOINTS}, {REDIS: SteppedRedis()})
    yield sim
    assert "proxywasm_exceptions" not in sim.gateway.shared.metrics.values()
    sim.finish()


def send(sim, end_of_stream=True):
    stream = sim.open_stream()
    stream.request_headers(HEADERS, end_of_stream)
    return stream


def set_back(sim):
    sim.scheduler.set_realtime(-HOUR_MS)


def end(sim, stream):
    stream.response_headers({":status": "200"}, end_of_stream=True)
    while sim.redis_commands():
        sim.deliver_redis(1)


def test_a_request_that_waits_for_redis(higress):
    stream = send(higress)
    set_back(higress)
    higress.advance(250)
    assert not stream.paused
    higress.deliver_redis([1, 1])
    end(higress, stream)


def test_leases_are_renewed(higress):
    stream = send(higress)
    higress.deliver_redis([1, 1])
    higress.advance(1500)
    set_back(higress)
    higress.advance(45_000)
    assert len(higress.redis_commands()) >= 2
    end(higress, stream)


def test_the_lookup_took_no_negative_time(higress):
    stream = send(higress)
    set_back(higress)
    higress.deliver_redis([1, 1])
    end(higress, stream)
    calls = higress.observe(stream).host_calls
    assert [call.arguments[1] for call in calls if call.function == "proxy_record_metric"] == [0]


def test_a_body_that_does_not_come(envoy_guest):
    sim = SteppedSimulator(
        envoy_guest, "envoy", {"lb_policy": "prefix_cache", "endpoints": ENDPOINTS}, clusters={"llm": ENDPOINTS}
    )
    stream = send(sim, end_of_stream=False)
    set_back(sim)
    later = send(sim, end_of_stream=False)
    sim.advance(2000)
    assert not stream.paused
    assert not later.paused
    for each in (stream, later):
        end(sim, each)
    sim.finish()
