"""A request really arrives at the cluster that was chosen: the header is named before the gateway chooses the route."""

from collections import Counter
from typing import Any

import pytest

from host_sim import SteppedRedis, SteppedSimulator

SERVICES = ["outbound|80||a.dns", "outbound|80||b.dns"]
CLUSTERS = {SERVICES[0]: ["10.1.0.1:80"], SERVICES[1]: ["10.1.0.2:80"]}
REDIS = "outbound|6379||redis.static"
HEADER = "x-higress-target-cluster"
HEADERS = {":method": "POST", ":path": "/", ":authority": "llm"}
MODES = ["LeastBusy", "LeastTotalLatency", "LeastFirstTokenLatency", "AdaptiveScore"]
HALVES = [{"cluster": service, "weight": 50} for service in SERVICES]


def metrics(mode: str, **lb_config: Any) -> dict[str, Any]:
    return {"lb_policy": "cluster_metrics", "lb_config": {"mode": mode, "service_list": SERVICES, **lb_config}}


POLICIES = {
    "cluster_hash": {"lb_policy": "cluster_hash", "lb_config": {"clusters": HALVES}},
    **{mode: metrics(mode) for mode in MODES},
    "AdaptiveScore of all gateways": metrics(
        "AdaptiveScore", global_inflight_enabled=True, serviceFQDN="redis.static", servicePort=6379
    ),
}


@pytest.mark.shows("key lb_config.reroute", "defect 12")
@pytest.mark.parametrize("has_rules", [False, True])
@pytest.mark.parametrize("name", POLICIES)
def test_requests_arrive_at_the_cluster_that_was_chosen(higress_guest: str, name: str, has_rules: bool) -> None:
    config: dict[str, Any] = {"lb_type": "cluster", **POLICIES[name]}
    if has_rules:
        config = {"_rules_": [{**config, "_match_domain_": ["llm"]}]}
    sim = SteppedSimulator(higress_guest, "higress", config, CLUSTERS, {REDIS: SteppedRedis()}, cluster_header=HEADER)
    reached: Counter[str] = Counter()
    for i in range(12):
        stream = sim.open_stream()
        stream.request_headers({**HEADERS, "x-mse-consumer": f"user-{i}"}, end_of_stream=True)
        if sim.redis_commands():
            sim.deliver_redis([1 + i % 2, 1])
        chosen = dict(sim.observe(stream).upstream_headers or [])[HEADER]
        assert stream.endpoint is not None
        assert [stream.endpoint.address] == CLUSTERS[chosen]
        reached[chosen] += 1
        stream.response_headers({":status": "200"}, end_of_stream=True)
        while sim.redis_commands():
            sim.deliver_redis(1)
    assert set(reached) == set(SERVICES)
    sim.finish()
