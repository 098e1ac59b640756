"""From a policy's configuration to its driver."""

from typing import TYPE_CHECKING

from ..config import (
    ClusterHashConfig,
    ClusterMetricsConfig,
    EndpointHashConfig,
    EndpointMetricsConfig,
    ExplainedConfig,
    LeastRequestConfig,
    PolicyConfig,
    PrefixCacheConfig,
)
from ..explanation import Explainer
from ..policies.adaptive_score import Weights
from ..policies.cluster_hash import ClusterHash
from ..policies.cluster_metrics import ADAPTIVE_SCORE, LEAST_BUSY
from ..policies.endpoint_metrics import EndpointMetrics
from .cluster_hash import ClusterHashDriver, ClusterHashRequest
from .cluster_metrics import ClusterMetricsDriver, ClusterMetricsRequest, FirstTokenRequest
from .cluster_modes import AdaptiveScoreMode, LatencyMode, LeastBusyMode
from .driver import Driver
from .endpoint_metrics import EndpointMetricsDriver, EndpointMetricsRequest
from .local_least_request import LocalLeastRequest, LocalLeastRequestDriver
from .redis_adaptive_score import RedisAdaptiveScoreDriver, RedisAdaptiveScoreRequest, ServiceLeases
from .redis_endpoint_hash import RedisEndpointHash, RedisEndpointHashDriver
from .redis_least_request import RedisLeastRequest, RedisLeastRequestDriver
from .redis_prefix_cache import RedisPrefixCache, RedisPrefixCacheDriver

if TYPE_CHECKING:
    from ..plugin import AiLoadBalancer

CONTEXT_CLASSES = (
    RedisLeastRequest,
    LocalLeastRequest,
    RedisPrefixCache,
    EndpointMetricsRequest,
    RedisEndpointHash,
    ClusterMetricsRequest,
    FirstTokenRequest,
    RedisAdaptiveScoreRequest,
    ClusterHashRequest,
)


def make_driver(root: "AiLoadBalancer", config: PolicyConfig) -> Driver:
    """The driver of a configuration; the Redis clients are the root's."""
    match config:
        case LeastRequestConfig():
            if config.redis is None:
                return LocalLeastRequestDriver(root.local_counts, config.endpoints, config.max_request_count)
            return RedisLeastRequestDriver(root, root.redis_client(config.redis), config.max_request_count)
        case PrefixCacheConfig():
            client = root.redis_client(config.redis)
            return RedisPrefixCacheDriver(root, client, config.ttl_s * 1000, config.tenant_header)
        case EndpointMetricsConfig():
            slow_start_ms = round(config.slow_start_s * 1000)
            return EndpointMetricsDriver(
                EndpointMetrics(config.metric_policy, config.target_metric, config.rate_limit, slow_start_ms)
            )
        case EndpointHashConfig():
            client = root.redis_client(config.redis)
            return RedisEndpointHashDriver(root, client, config.hash_header, config.load_factor)
        case ClusterHashConfig():
            policy = ClusterHash(config.clusters)
            return ClusterHashDriver(policy, config.hash_header, config.cluster_header, config.reroute)
        case ClusterMetricsConfig():
            return _cluster_metrics(root, config)


def _cluster_metrics(root: "AiLoadBalancer", config: ClusterMetricsConfig) -> Driver:
    common = (config.rate_limit, config.queue_size, config.cluster_header, config.reroute)
    services = config.services
    if config.mode == LEAST_BUSY:
        return ClusterMetricsDriver(services, LeastBusyMode(services), *common)
    if config.mode != ADAPTIVE_SCORE:
        return ClusterMetricsDriver(services, LatencyMode(services, config.mode, config.queue_size), *common)
    mode = AdaptiveScoreMode(services, _weights(config))
    if config.redis is None:
        return ClusterMetricsDriver(services, mode, *common)
    leases = ServiceLeases(root, root.redis_client(config.redis), config.global_inflight_key_prefix)
    return RedisAdaptiveScoreDriver(leases, services, mode, *common)


def explainer_of(policy: str, config: ExplainedConfig) -> Explainer | None:
    """None if nobody wants to know."""
    if not config.decision_log and not config.decision_header:
        return None
    return Explainer(policy, config.decision_log, config.decision_header)


def _weights(config: ClusterMetricsConfig) -> Weights:
    return Weights(
        ewma_beta=config.ewma_beta,
        p2c_choices=config.p2c_choices,
        ttft_weight=config.ttft_weight,
        total_latency_weight=config.total_latency_weight,
        error_penalty=config.error_penalty,
        failure_cooldown_ms=config.failure_cooldown_ms,
    )
