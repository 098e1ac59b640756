"""One policy's configuration, the global one's or a rule's: lb_type, lb_policy, lb_config."""

from collections.abc import Callable
from typing import TypeVar

from .keys import keys_of, read
from .policies import (
    ALIASES,
    CLUSTER_POLICIES,
    POLICIES,
    ClusterHashConfig,
    ClusterMetricsConfig,
    EndpointHashConfig,
    EndpointMetricsConfig,
    LeaseConfig,
    LeastRequestConfig,
    PolicyConfig,
    PrefixCacheConfig,
    RedisConfig,
)
from .reader import ConfigReader, as_integer, shown, type_name

MAX_ENDPOINTS = 1024  # as many pairs as a host takes in one map
MAX_CLUSTERS = 100  # of cluster_hash, which has as many slots
MAX_SERVICES = 255  # of cluster_metrics, whose statistics number them by a byte

C = TypeVar("C", bound=LeaseConfig)

_REDIS_KEYS = tuple(key.name for key in keys_of(RedisConfig).values())


def read_policy(top: ConfigReader, has_redis: bool) -> PolicyConfig:
    """Reads what is under `top`. What is wrong is reported to it; then the result is of no use."""
    lb_type = top.choice("lb_type", ("endpoint", "cluster"), default="endpoint")
    found = top.raw("lb_policy")
    name = ALIASES.get(found, found) if isinstance(found, str) else found
    if name not in POLICIES:
        top.error("lb_policy", f"is required, one of: {', '.join(POLICIES)}; found {shown(found)}")
        name = "global_least_request"
    elif (name in CLUSTER_POLICIES) != (lb_type == "cluster"):
        kind, article = ("cluster", "a") if name in CLUSTER_POLICIES else ("endpoint", "an")
        top.error("lb_type", f"{found} chooses {article} {kind}: expected {kind}, found {shown(lb_type)}")
    reader = top.section("lb_config")
    config = _READERS[POLICIES[str(name)]](top, reader, has_redis)
    reader.finish()
    top.finish()
    return config


def _least_request(top: ConfigReader, reader: ConfigReader, has_redis: bool) -> LeastRequestConfig:
    # Leases expire by themselves, so there is nothing to clean, and no second form of the lookup.
    reader.ignore("cleanInterval", "enableDetailLog")
    return _with_leases(LeastRequestConfig, top, reader, has_redis)


def _prefix_cache(top: ConfigReader, reader: ConfigReader, has_redis: bool) -> PrefixCacheConfig:
    return _with_leases(PrefixCacheConfig, top, reader, has_redis)


def _endpoint_hash(top: ConfigReader, reader: ConfigReader, has_redis: bool) -> EndpointHashConfig:
    return _with_leases(EndpointHashConfig, top, reader, has_redis)


def _with_leases(config_class: type[C], top: ConfigReader, reader: ConfigReader, has_redis: bool) -> C:
    """A configuration with Redis, or with endpoints where there is none."""
    if has_redis:
        redis = read(RedisConfig, reader)
    else:
        redis = None
        reader.ignore(*_REDIS_KEYS)
    return read(config_class, reader, redis=redis, endpoints=_endpoints(top, reader, has_redis))


def _endpoint_metrics(top: ConfigReader, reader: ConfigReader, has_redis: bool) -> EndpointMetricsConfig:
    config = read(EndpointMetricsConfig, reader, endpoints=_endpoints(top, reader, has_redis, is_scraped=True))
    if not config.metrics_path.startswith("/"):
        reader.error("metrics_path", f"expected a path that begins with /, found {shown(config.metrics_path)}")
    if config.metric_policy != "default" and not config.target_metric:
        reader.error("target_metric", f"is required by metric_policy {config.metric_policy}")
    return config


def _cluster_metrics(top: ConfigReader, reader: ConfigReader, has_redis: bool) -> ClusterMetricsConfig:
    wants_redis = reader.boolean("global_inflight_enabled", False) and reader.raw("mode") == "AdaptiveScore"
    redis: RedisConfig | None = None
    if wants_redis and has_redis:
        redis = read(RedisConfig, reader)
    else:
        reader.ignore(*_REDIS_KEYS)
    if wants_redis and not has_redis:
        reader.error("global_inflight_enabled", "needs a gateway with Redis calls (Higress)")
    # The leases have a time to live of their own, and the lookup takes the client's timeout.
    reader.ignore("global_inflight_timeout", "global_inflight_key_ttl")
    config = read(ClusterMetricsConfig, reader, redis=redis)
    if len(config.services) > MAX_SERVICES:
        reader.error("service_list", f"at most {MAX_SERVICES} are allowed, found {len(config.services)}")
    return config


def _cluster_hash(top: ConfigReader, reader: ConfigReader, has_redis: bool) -> ClusterHashConfig:
    return read(ClusterHashConfig, reader, clusters=_clusters(reader))


_READERS: dict[type, Callable[[ConfigReader, ConfigReader, bool], PolicyConfig]] = {
    LeastRequestConfig: _least_request,
    PrefixCacheConfig: _prefix_cache,
    EndpointMetricsConfig: _endpoint_metrics,
    EndpointHashConfig: _endpoint_hash,
    ClusterMetricsConfig: _cluster_metrics,
    ClusterHashConfig: _cluster_hash,
}


def _clusters(reader: ConfigReader) -> tuple[tuple[str, int], ...]:
    """The list of {cluster, weight}."""
    value = reader.raw("clusters")
    if not isinstance(value, list) or not value:
        reader.error("clusters", f"is required: a list of {{cluster, weight}}, found {shown(value)}")
        return ()
    if len(value) > MAX_CLUSTERS:
        reader.error("clusters", f"at most {MAX_CLUSTERS} are allowed, found {len(value)}")
        return ()
    clusters: list[tuple[str, int]] = []
    for i, item in enumerate(value):
        fields = item if isinstance(item, dict) else {}
        cluster, weight = fields.get("cluster"), as_integer(fields.get("weight"))
        if not isinstance(cluster, str) or not cluster or weight is None or weight < 1:
            found = shown(item) if isinstance(item, dict) else type_name(item)
            reader.error(f"clusters[{i}]", f"expected a cluster's name and a weight above 0, found {found}")
        else:
            clusters.append((cluster, weight))
    total = sum(weight for _, weight in clusters)
    if len(clusters) == len(value) and total != 100:
        reader.error("clusters", f"the weights must sum to 100, found {total}")
    return tuple(clusters)


def _endpoints(top: ConfigReader, reader: ConfigReader, has_list: bool, is_scraped: bool = False) -> tuple[str, ...]:
    """Those of a gateway that has no list of its own; optional if its admin interface has one."""
    value = top.raw("endpoints")
    if has_list:
        return ()
    has_admin = bool(reader.raw("admin_cluster"))
    if (has_admin or is_scraped) and not reader.raw("upstream_cluster"):
        reader.error("upstream_cluster", "is required here: the name of the endpoints' cluster")
    if has_admin and value is None:
        return ()
    if not isinstance(value, list) or not value:
        top.error("endpoints", f'is required here: an array of "ip:port", found {shown(value)}')
        return ()
    if len(value) > MAX_ENDPOINTS:
        top.error("endpoints", f"at most {MAX_ENDPOINTS} are allowed, found {len(value)}")
        return ()
    for i, endpoint in enumerate(value):
        if not _is_ip_and_port(endpoint):
            top.error(f"endpoints[{i}]", f'expected "ip:port", found {shown(endpoint)}')
        elif endpoint in value[:i]:
            top.error(f"endpoints[{i}]", f"{endpoint} is listed twice")
    return tuple(value)


def _is_ip_and_port(endpoint: object) -> bool:
    """A cheap check: Envoy takes IPv4 as 10.0.0.1:80 and IPv6 as [::1]:80, and no host names."""
    if not isinstance(endpoint, str):
        return False
    address, _, port = endpoint.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        return False
    if address.startswith("[") and address.endswith("]"):
        return ":" in address and set(address[1:-1]) <= set("0123456789abcdefABCDEF:.")
    return address.count(".") == 3 and set(address) <= set("0123456789.")
