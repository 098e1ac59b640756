"""From a policy's configuration to its driver."""

from typing import TYPE_CHECKING, TypeVar

from proxywasm import RedisClient, capabilities

from ..admin_endpoints import AdminEndpoints
from ..config import (
    ClusterHashConfig,
    ClusterMetricsConfig,
    EndpointConfig,
    EndpointHashConfig,
    EndpointMetricsConfig,
    ExplainedConfig,
    LeaseConfig,
    LeastRequestConfig,
    PolicyConfig,
    PrefixCacheConfig,
)
from ..explanation import Explainer
from ..policies.adaptive_score import Weights
from ..policies.cluster_hash import ClusterHash
from ..policies.cluster_metrics import ADAPTIVE_SCORE, LEAST_BUSY
from ..policies.endpoint_metrics import EndpointMetrics
from ..scraping import Scraper
from ..upstream import EnvoyUpstream, Upstream
from ..upstream_metrics import HostViews
from .cluster_counts import AdaptiveScoreMode, LeastBusyMode
from .cluster_hash import ClusterHashDriver, ClusterHashRequest
from .cluster_latency import LatencyMode
from .cluster_metrics import ClusterMetricsDriver, ClusterMetricsRequest, FirstTokenRequest
from .driver import Driver
from .endpoint_hash import EndpointHash, EndpointHashDriver
from .endpoint_metrics import EndpointMetricsDriver, EndpointMetricsRequest, Views
from .least_request import LeastRequest, LeastRequestDriver
from .prefix_cache import PrefixCache, PrefixCacheDriver
from .redis_adaptive_score import RedisAdaptiveScoreDriver, RedisAdaptiveScoreRequest, ServiceLeases
from .target_cluster import TargetCluster

if TYPE_CHECKING:
    from ..plugin import AiLoadBalancer

CONTEXT_CLASSES = (
    LeastRequest,
    PrefixCache,
    EndpointHash,
    EndpointMetricsRequest,
    ClusterMetricsRequest,
    FirstTokenRequest,
    RedisAdaptiveScoreRequest,
    ClusterHashRequest,
)


def make_driver(root: "AiLoadBalancer", config: PolicyConfig) -> Driver:
    """The driver of a configuration; the Redis clients are the root's."""
    match config:
        case LeastRequestConfig():
            return LeastRequestDriver(root, *_of_leases(root, "global_least_request", config))
        case PrefixCacheConfig():
            return PrefixCacheDriver(root, *_of_leases(root, "prefix_cache", config))
        case EndpointHashConfig():
            return EndpointHashDriver(root, *_of_leases(root, "endpoint_hash", config))
        case EndpointMetricsConfig():
            return _endpoint_metrics(root, config)
        case ClusterHashConfig():
            target = TargetCluster(config.cluster_header, config.reroute)
            explainer = explainer_of("cluster_hash", config)
            return ClusterHashDriver(ClusterHash(config.clusters), config.hash_header, target, explainer)
        case ClusterMetricsConfig():
            return _cluster_metrics(root, config)


L = TypeVar("L", bound=LeaseConfig)


def _of_leases(
    root: "AiLoadBalancer", policy: str, config: L
) -> tuple[Upstream, L, Explainer | None, RedisClient | None]:
    """What the drivers of all policies with leases are made of."""
    client = root.redis_client(config.redis) if config.redis is not None else None
    return _upstream(root, config), config, explainer_of(policy, config), client


def _upstream(root: "AiLoadBalancer", config: EndpointConfig) -> Upstream:
    if capabilities.current().upstream_hosts:
        return root.higress
    admin: AdminEndpoints | None = None
    if config.admin_cluster:
        admin = AdminEndpoints(root, config.admin_cluster, config.upstream_cluster)
    return EnvoyUpstream(config.endpoints, admin)


def _endpoint_metrics(root: "AiLoadBalancer", config: EndpointMetricsConfig) -> EndpointMetricsDriver:
    slow_start_ms = round(config.slow_start_s * 1000)
    policy = EndpointMetrics(config.metric_policy, config.target_metric, config.rate_limit, slow_start_ms)
    upstream = _upstream(root, config)
    views: Views
    if capabilities.current().upstream_hosts:
        views = HostViews(policy.read)
    else:
        cluster, path, interval_ms = config.upstream_cluster, config.metrics_path, config.scrape_interval_ms
        views = Scraper(root, upstream, policy.read, cluster, path, interval_ms, policy.scope)
    return EndpointMetricsDriver(policy, upstream, views, explainer_of("endpoint_metrics", config))


def _cluster_metrics(root: "AiLoadBalancer", config: ClusterMetricsConfig) -> Driver:
    services = config.services
    common = (services, config.rate_limit, config.queue_size)
    sending = (TargetCluster(config.cluster_header, config.reroute), explainer_of("cluster_metrics", config))
    if config.mode == LEAST_BUSY:
        return ClusterMetricsDriver(services, LeastBusyMode(*common), *sending)
    if config.mode != ADAPTIVE_SCORE:
        return ClusterMetricsDriver(services, LatencyMode(config.mode, *common), *sending)
    mode = AdaptiveScoreMode(*common, _weights(config))
    if config.redis is None:
        return ClusterMetricsDriver(services, mode, *sending)
    leases = ServiceLeases(root, root.redis_client(config.redis), config.global_inflight_key_prefix)
    return RedisAdaptiveScoreDriver(leases, config.redis.budget_ms, services, mode, *sending)


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
