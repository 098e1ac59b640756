"""prefix_cache holds a request for its body, but not for a body that does not come."""

import pytest

from host_sim import SteppedSimulator

ENDPOINTS = ["10.0.0.1:80", "10.0.0.2:80"]
HEADERS = {":method": "POST", ":path": "/v1/chat/completions", ":authority": "llm", "content-type": "application/json"}
BODY = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'


@pytest.fixture(params=[True, False], ids=["body first", "body after the headers"])
def sim(envoy_guest, request):
    """Stock Envoy with and without allow_on_headers_stop_iteration; without it, a held request gives no body."""
    sim = SteppedSimulator(
        envoy_guest,
        "envoy",
        {"lb_policy": "prefix_cache", "endpoints": ENDPOINTS},
        clusters={"llm": ENDPOINTS},
        allow_on_headers_stop_iteration=request.param,
    )
    yield sim
    assert "proxywasm_exceptions" not in sim.gateway.shared.metrics.values()
    sim.finish()


def send(sim):
    stream = sim.open_stream()
    stream.request_headers(HEADERS, end_of_stream=False)
    return stream


def finish(stream):
    stream.response_headers({":status": "200"}, end_of_stream=True)


@pytest.mark.shows("defect 1")
def test_a_body_that_never_comes_is_not_waited_for(sim):
    stream = send(sim)
    assert stream.paused
    sim.advance(999)
    assert stream.paused
    sim.advance(1001)  # the next tick is at most a second away
    assert not stream.paused
    assert sim.observe(stream).upstream_headers
    stream.request_body(BODY, end_of_stream=True)
    assert stream.upstream.body == BODY
    finish(stream)


def test_a_body_that_has_begun_is_waited_for(sim):
    stream = send(sim)
    stream.request_body(BODY[:9], end_of_stream=False)
    sim.advance(60_000)
    assert stream.paused == sim.gateway.allow_on_headers_stop_iteration
    stream.request_body(BODY[9:], end_of_stream=True)
    assert not stream.paused
    assert stream.upstream.body == BODY
    finish(stream)


def test_a_client_that_goes_away_is_not_waited_for(sim):
    send(sim).abort()
    sim.advance(3000)
