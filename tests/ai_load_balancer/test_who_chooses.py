"""On stock Envoy a request header names the endpoint; whatever the policy, a client's own header has no effect."""

from typing import Any

import pytest
from ai_load_balancer.upstream import ENDPOINT_HEADER

from host_sim import SteppedSimulator
from host_sim.local_reply import LocalReply

ENDPOINTS = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]
HEADERS = {":method": "POST", ":path": "/", ":authority": "llm", "x-session": "ann", ENDPOINT_HEADER: ENDPOINTS[2]}
LEAST_REQUEST = {"lb_policy": "global_least_request", "endpoints": ENDPOINTS[:1]}
CONFIGS: dict[str, dict[str, Any]] = {
    "no rule applies": {"_rules_": [{"_match_domain_": ["other"], **LEAST_REQUEST}]},
    "cluster_hash": {
        "lb_type": "cluster",
        "lb_policy": "cluster_hash",
        "lb_config": {"clusters": [{"cluster": "llm", "weight": 100}], "hash_header": "x-session"},
    },
    "cluster_metrics": {
        "lb_type": "cluster",
        "lb_policy": "cluster_metrics",
        "lb_config": {"mode": "LeastBusy", "service_list": ["llm"]},
    },
    "global_least_request": LEAST_REQUEST,
    "endpoint_hash": {"lb_policy": "endpoint_hash", "endpoints": ENDPOINTS[:1]},
    "prefix_cache": {"lb_policy": "prefix_cache", "endpoints": ENDPOINTS[:1]},
    "endpoint_metrics": {
        "lb_policy": "endpoint_metrics",
        "endpoints": ENDPOINTS[:1],
        "lb_config": {"upstream_cluster": "llm"},
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_client_cannot_choose_the_endpoint(envoy_guest, name):
    sim = SteppedSimulator(envoy_guest, "envoy", CONFIGS[name], clusters={"llm": ENDPOINTS})
    stream = sim.open_stream()
    stream.request_headers(HEADERS, end_of_stream=True)
    sent = dict(sim.observe(stream).upstream_headers or [])
    assert sent.get(ENDPOINT_HEADER) in (None, ENDPOINTS[0])
    stream.response_headers({":status": "200"}, end_of_stream=True)
    assert "proxywasm_exceptions" not in sim.gateway.shared.metrics.values()


@pytest.mark.parametrize(
    ("details", "is_of_endpoint"),
    [("quota", False), ("upstream_reset_before_response_started{connection_failure}", True)],
)
def test_an_answer_of_another_filter_is_no_failure_of_the_endpoint(envoy_guest, details, is_of_endpoint):
    config = {"lb_policy": "global_least_request", "endpoints": ENDPOINTS[:2]}
    sim = SteppedSimulator(envoy_guest, "envoy", config, clusters={"llm": ENDPOINTS})
    chosen = []
    for _ in range(12):
        stream = sim.open_stream()
        stream.request_headers(HEADERS, end_of_stream=True)
        chosen.append(stream.endpoint.address if stream.endpoint else None)
        if chosen[-1] == ENDPOINTS[0]:
            stream.reply(LocalReply(503, details, b""))
        else:
            stream.response_headers({":status": "200"}, end_of_stream=True)
    assert (chosen.count(ENDPOINTS[0]) == 1) == is_of_endpoint, chosen
    sim.finish()
