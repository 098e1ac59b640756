"""Bodies that are larger than a gateway holds back: the request goes on, whole, without affinity."""

import json

import pytest

from host_sim import SteppedRedis, SteppedSimulator

ENDPOINTS = ["10.0.0.1:80", "10.0.0.2:80"]
CLUSTER, REDIS = "outbound|80||llm.dns", "outbound|6379||redis.static"
HEADERS = {":method": "POST", ":path": "/v1/chat/completions", ":authority": "llm", "content-type": "application/json"}
CHUNK = b" " * 65_536
PROMPT = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()


def upload(stream, chunks):
    stream.request_headers(HEADERS, end_of_stream=False)
    for _ in range(chunks):
        stream.request_body(CHUNK, end_of_stream=False)
    stream.request_body(PROMPT, end_of_stream=True)


def finish(sim, stream, chunks):
    assert stream.upstream.body == CHUNK * chunks + PROMPT
    stream.response_headers({":status": "200"}, end_of_stream=True)
    while sim.redis_commands():
        sim.deliver_redis(1)
    assert "proxywasm_exceptions" not in sim.gateway.shared.metrics.values()
    sim.finish()


@pytest.mark.parametrize("chunks", [6, 40])
def test_on_stock_envoy(envoy_guest, chunks):
    sim = SteppedSimulator(
        envoy_guest,
        "envoy",
        {"lb_policy": "prefix_cache", "endpoints": ENDPOINTS, "lb_config": {"decision_header": "x-decision"}},
        clusters={"llm": ENDPOINTS},
        allow_on_headers_stop_iteration=True,
    )
    stream = sim.open_stream()
    upload(stream, chunks)
    assert not stream.paused
    finish(sim, stream, chunks)
    blocks = 1 if chunks == 6 else 0  # a prompt of 2.5 MB is not waited for
    assert f"; blocks={blocks}" in (sim.observe(stream).header("x-decision") or "")


@pytest.mark.parametrize("chunks", [6, 40, 80])
def test_on_higress(higress_guest, chunks):
    config = {"lb_policy": "prefix_cache", "lb_config": {"serviceFQDN": "redis.static", "servicePort": 6379}}
    sim = SteppedSimulator(higress_guest, "higress", config, {CLUSTER: ENDPOINTS}, {REDIS: SteppedRedis()})
    stream = sim.open_stream()
    upload(stream, chunks)
    assert stream.paused
    knows_prompt = b":prefix:" in b"".join(sim.redis_commands()[0])
    assert knows_prompt == (chunks < 64)  # up to 4 MiB
    sim.deliver_redis([2, 1, 0] if knows_prompt else [2, 1])
    assert stream.endpoint is not None
    assert stream.endpoint.address == ENDPOINTS[1]
    finish(sim, stream, chunks)
