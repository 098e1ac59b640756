"""Five tests of api_key.py. Each runs on the native guest, the wasm guest and, where it can, on a real Envoy."""

from pathlib import Path

import pytest

from host_sim import SteppedSimulator
from host_sim.testing.hosts import Host

HERE = str(Path(__file__).parent)
pytestmark = [
    pytest.mark.plugin("api_key:ApiKey", python_path=[HERE], config={"k1": "alice"}),
    pytest.mark.hosts("native", "wasm", "envoy"),
]


def test_a_request_with_a_key_is_served(host: Host) -> None:
    exchange = host.request("GET", "/", {"x-api-key": "k1"})
    assert exchange.status == 200
    assert exchange.endpoint == host.clusters["upstream"][0]


def test_the_upstream_sees_the_owner_and_not_the_key(host: Host) -> None:
    seen = dict(host.request("GET", "/", {"x-api-key": "k1"}).upstream_headers or [])
    assert seen["x-owner"] == "alice"
    assert "x-api-key" not in seen


def test_a_request_without_a_key_is_refused_and_counted(host: Host) -> None:
    before = host.metrics().get("api_key_refused", 0)  # a real Envoy serves all tests of this file
    exchange = host.request("GET", "/")
    assert (exchange.status, exchange.body) == (401, b"an API key is required")
    assert exchange.upstream_headers is None
    assert host.metrics()["api_key_refused"] == before + 1


@pytest.mark.hosts("native", "wasm")  # what happens inside cannot be seen in a real Envoy
def test_what_the_filter_asks_of_its_host(host: Host) -> None:
    exchange = host.request("GET", "/", {"x-api-key": "k1"})
    assert exchange.actions[0] == ("proxy_on_request_headers", 0)
    assert exchange.host_call_names() == [
        "proxy_get_header_map_value",
        "proxy_remove_header_map_value",
        "proxy_replace_header_map_value",
    ]


@pytest.mark.hosts("native", "wasm")
def test_step_by_step(stepped: SteppedSimulator) -> None:
    stream = stepped.open_stream()
    stream.request_headers({":method": "POST", ":path": "/", ":authority": "a", "x-api-key": "k1"}, end_of_stream=False)
    stream.request_body(b"question")
    assert stream.upstream.body == b"question"
    stream.response_headers({":status": "200"}, end_of_stream=False)
    stream.response_body(b"answer")
    assert stepped.observe(stream).body == b"answer"
    stepped.finish()
