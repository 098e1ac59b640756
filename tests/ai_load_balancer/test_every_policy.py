"""Each policy from its configuration to a routed request, on both guests; what each decides has tests of its own."""

from collections.abc import Mapping
from typing import Any

import pytest
from ai_load_balancer.upstream import ENDPOINT_HEADER

from host_sim import Endpoint, HttpStream, SteppedRedis, SteppedSimulator

CLUSTER = "outbound|80||llm.dns"
SERVICES = ["outbound|80||a.dns", "outbound|80||b.dns"]
REDIS = {"serviceFQDN": "redis.static", "servicePort": 6379}
REDIS_CLUSTER = "outbound|6379||redis.static"
METRICS = "vllm:num_requests_waiting %d\nvllm:num_requests_running 1\nvllm:kv_cache_usage_perc 0.1\n"
ENDPOINTS = [Endpoint("10.0.0.1:80", metrics=METRICS % 40), Endpoint("10.0.0.2:80", metrics=METRICS % 0)]
BODY = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'


def start(guest: str, policy: str, lb_config: Mapping[str, Any], lb_type: str = "endpoint") -> SteppedSimulator:
    config = {"lb_policy": policy, "lb_type": lb_type, "lb_config": dict(lb_config)}
    clusters: dict[str, list[Endpoint | str]] = {CLUSTER: [*ENDPOINTS]}
    clusters |= {service: ["10.1.0.1:80"] for service in SERVICES}
    options: dict[str, Any] = {"cluster_header": "x-higress-target-cluster"} if lb_type == "cluster" else {}
    return SteppedSimulator(guest, "higress", config, clusters, {REDIS_CLUSTER: SteppedRedis()}, **options)


def send(sim: SteppedSimulator, **headers: str) -> HttpStream:
    return send_to_worker(sim, 0, headers)


def send_to_worker(sim: SteppedSimulator, worker: int, headers: Mapping[str, str]) -> HttpStream:
    stream = sim.open_stream(worker)
    pairs = {
        ":method": "POST",
        ":path": "/v1/chat/completions",
        ":authority": "llm",
        "content-type": "application/json",
    }
    stream.request_headers({**pairs, **headers}, end_of_stream=False)
    stream.request_body(BODY, end_of_stream=True)
    return stream


def finish(sim: SteppedSimulator, stream: HttpStream) -> None:
    stream.response_headers({":status": "200"}, end_of_stream=False)
    stream.response_body(b"{}", end_of_stream=True)
    while sim.redis_commands():
        sim.deliver_redis(1)
    assert sim.observe(stream).status == 200
    sim.finish()


@pytest.mark.shows("key lb_policy")
@pytest.mark.parametrize("policy", ["global_least_request", "prefix_cache", "endpoint_hash"])
def test_a_policy_with_redis(higress_guest: str, policy: str):
    sim = start(higress_guest, policy, REDIS)
    stream = send(sim, **{"x-mse-consumer": "ann"})
    [command] = sim.redis_commands()
    assert command[0] == b"EVALSHA"
    assert sim.observe(stream).upstream_headers is None  # held
    sim.deliver_redis([2, 1, 0] if policy == "prefix_cache" else [2, 1])
    assert stream.overridden
    finish(sim, stream)


@pytest.mark.parametrize("policy", ["global_least_request", "prefix_cache", "endpoint_hash"])
def test_a_policy_with_leases_on_stock_envoy(envoy_guest: str, policy: str):
    """Without Redis, by the counts, prefixes and sessions that two workers share."""
    endpoints = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]
    config = {"lb_policy": policy, "endpoints": endpoints}
    options: dict[str, Any] = {"workers": 2, "allow_on_headers_stop_iteration": True}
    sim = SteppedSimulator(envoy_guest, "envoy", config, {"llm": [*endpoints]}, **options)
    first = send(sim, **{"x-mse-consumer": "ann", ENDPOINT_HEADER: "10.9.9.9:80"})
    second = send_to_worker(sim, 1, {"x-mse-consumer": "ann"})
    addresses = [dict(sim.observe(stream).upstream_headers or [])[ENDPOINT_HEADER] for stream in (first, second)]
    assert set(addresses) <= set(endpoints)
    if policy == "prefix_cache":  # the other worker knows who has the prompt
        assert addresses[0] == addresses[1]
    else:  # the other worker knows the count; the bound of two requests is one at each endpoint
        assert addresses[0] != addresses[1]
    second.response_headers({":status": "200"}, end_of_stream=True)
    finish(sim, first)


def test_endpoint_metrics(higress_guest: str):
    sim = start(higress_guest, "endpoint_metrics", {})
    stream = send(sim)
    assert stream.overridden
    assert stream.endpoint is not None
    assert stream.endpoint.address == "10.0.0.2:80"  # the shorter queue
    finish(sim, stream)


@pytest.mark.parametrize("mode", ["LeastBusy", "LeastTotalLatency", "LeastFirstTokenLatency", "AdaptiveScore"])
def test_cluster_metrics(higress_guest: str, mode: str):
    sim = start(higress_guest, "cluster_metrics", {"mode": mode, "service_list": SERVICES}, "cluster")
    stream = send(sim)
    headers = dict(sim.observe(stream).upstream_headers or [])
    assert headers["x-higress-target-cluster"] in SERVICES
    finish(sim, stream)


@pytest.mark.shows("key lb_config.global_inflight_enabled")
def test_adaptive_score_with_the_counts_of_all_gateways(higress_guest: str):
    lb_config = {**REDIS, "mode": "AdaptiveScore", "service_list": SERVICES, "global_inflight_enabled": True}
    sim = start(higress_guest, "cluster_metrics", lb_config, "cluster")
    stream = send(sim)
    assert stream.paused
    sim.deliver_redis([2, 1])
    headers = dict(sim.observe(stream).upstream_headers or [])
    assert headers["x-higress-target-cluster"] in SERVICES
    finish(sim, stream)


def test_cluster_hash(higress_guest: str):
    halves = [{"cluster": service, "weight": 50} for service in SERVICES]
    sim = start(higress_guest, "cluster_hash", {"clusters": halves}, "cluster")
    chosen = set()
    for _ in range(3):
        stream = send(sim, **{"x-mse-consumer": "ann"})
        chosen.add(dict(sim.observe(stream).upstream_headers or [])["x-higress-target-cluster"])
        stream.response_headers({":status": "200"})
    assert len(chosen) == 1
    assert chosen <= set(SERVICES)
    stranger = send(sim)
    assert sim.observe(stranger).status == 403
    sim.finish()
