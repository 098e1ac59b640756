"""The drivers of the cluster policies and of endpoint_hash, with a configuration of their own."""

import json
from typing import Any

from ai_load_balancer.drivers.cluster_hash import ClusterHashDriver, ClusterHashRequest
from ai_load_balancer.drivers.cluster_metrics import ClusterMetricsDriver, ClusterMetricsRequest, FirstTokenRequest
from ai_load_balancer.drivers.cluster_modes import AdaptiveScoreMode, LatencyMode, LeastBusyMode, Mode
from ai_load_balancer.drivers.redis_adaptive_score import (
    RedisAdaptiveScoreDriver,
    RedisAdaptiveScoreRequest,
    ServiceLeases,
)
from ai_load_balancer.drivers.redis_endpoint_hash import RedisEndpointHash, RedisEndpointHashDriver
from ai_load_balancer.policies.adaptive_score import Weights
from ai_load_balancer.policies.cluster_hash import ClusterHash
from ai_load_balancer.policies.cluster_metrics import ADAPTIVE_SCORE, LEAST_BUSY
from ai_load_balancer.upstream_hosts import UpstreamHosts
from proxywasm import RedisClient, RootContext

CLUSTER_HEADER = "x-higress-target-cluster"


class ClusterPolicies(RootContext):
    further_contexts = (
        ClusterHashRequest,
        ClusterMetricsRequest,
        FirstTokenRequest,
        RedisAdaptiveScoreRequest,
        RedisEndpointHash,
    )
    plugin_id = ""

    def on_configure(self, configuration_size: int) -> bool | None:
        config = json.loads(self.plugin_configuration())
        reroute = config.get("reroute", False)
        if "clusters" in config:
            policy = ClusterHash([tuple(pair) for pair in config["clusters"]])
            self.driver: Any = ClusterHashDriver(policy, "x-mse-consumer", CLUSTER_HEADER, reroute)
        elif "load_factor" in config:
            self.upstream_hosts = UpstreamHosts()
            client = RedisClient(config["redis"])
            client.init()
            self.driver = RedisEndpointHashDriver(self, client, "x-mse-consumer", config["load_factor"])  # type: ignore[arg-type]
        elif "redis" in config:
            client = RedisClient(config["redis"])
            client.init()
            services = config["services"]
            leases = ServiceLeases(self, client, "fleet")  # type: ignore[arg-type]
            mode = AdaptiveScoreMode(services, Weights())
            self.driver = RedisAdaptiveScoreDriver(leases, services, mode, 1.0, 100, CLUSTER_HEADER, reroute)
        else:
            services = config["services"]
            rate_limit = config.get("rate_limit", 1.0)
            self.driver = ClusterMetricsDriver(
                services, mode_of(config["mode"], services), rate_limit, 100, CLUSTER_HEADER, reroute
            )
        self.http_context = self.driver.context_class
        self.set_tick_period(20_000)
        return True

    def on_tick(self) -> None:
        self.driver.on_tick()


def mode_of(name: str, services: list[str]) -> Mode:
    if name == LEAST_BUSY:
        return LeastBusyMode(services)
    if name == ADAPTIVE_SCORE:
        return AdaptiveScoreMode(services, Weights())
    return LatencyMode(services, name, 100)
