"""What each policy is configured with: one dataclass per policy, the single source of its keys."""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from ..policies.cluster_metrics import MODES
from .keys import HEADER, READABLE_HEADER, boolean, choice, integer, number, text, texts

MAX_TIMEOUT_MS = 600_000
MAX_REQUEST_COUNT = 2**31 - 1
DEFAULT_REDIS_TIMEOUT_MS = 3000
DEFAULT_HASH_HEADER = "x-mse-consumer"
DEFAULT_CLUSTER_HEADER = "x-higress-target-cluster"
SLOW_START = "seconds in which an endpoint that is new or back comes to full load; 0: at once"
_DAY_S = 86_400


class Connection(NamedTuple):
    """How Redis is reached. A gateway keeps one such setting for each cluster."""

    cluster: str
    username: str
    password: str
    timeout_ms: int
    database: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisConfig:
    """Where Redis is, as the gateway knows it."""

    service_fqdn: str = text("serviceFQDN", "the name of the Redis service")
    service_port: int = integer("servicePort", "the port of the Redis service", 1, 65535)
    username: str = text("username", "for AUTH", "")
    password: str = text("password", "for AUTH", "")
    given_timeout_ms: int = integer("timeout", "ms to wait for a reply; 0 for 3000", 0, MAX_TIMEOUT_MS, 0)
    database: int = integer("database", "the number of the database", 0, 2**31 - 1, 0)
    budget_ms: int = integer(
        "redis_budget_ms",
        "ms that a request waits for Redis, before the gateway decides by itself",
        1,
        MAX_TIMEOUT_MS,
        200,
    )

    @property
    def cluster(self) -> str:
        return f"outbound|{self.service_port}||{self.service_fqdn}"

    @property
    def timeout_ms(self) -> int:
        return self.given_timeout_ms or DEFAULT_REDIS_TIMEOUT_MS

    @property
    def connection(self) -> "Connection":
        return Connection(self.cluster, self.username, self.password, self.timeout_ms, self.database)

    def __repr__(self) -> str:
        return f"RedisConfig({self.cluster!r}, database={self.database}, timeout_ms={self.timeout_ms})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedConfig:
    """What every policy can be asked to tell."""

    decision_log: bool = boolean("decision_log", "log each decision with its reasons, at level INFO", False)
    decision_header: str = text(
        "decision_header", "the response header that tells the decision; without it, none", "", HEADER
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig(ExplainedConfig):
    """A policy that chooses an endpoint. What is here is for gateways that do not list a cluster's endpoints."""

    endpoints: tuple[str, ...]
    upstream_cluster: str = text("upstream_cluster", "stock Envoy: the cluster of the endpoints", "")
    admin_cluster: str = text(
        "admin_cluster", "stock Envoy: the cluster of its admin interface, which is asked for the endpoints", ""
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseConfig(EndpointConfig):
    """A policy that counts requests in flight. `redis` is there on the targets that have it."""

    redis: RedisConfig | None
    lease_ttl_s: int = integer(
        "lease_ttl_s", "seconds after which the requests of a gateway that died count no longer", 3, 3600, 60
    )
    slow_start_s: float = number("slow_start_s", SLOW_START, 0, 3600, 0.0)

    @property
    def lease_ttl_ms(self) -> int:
        return self.lease_ttl_s * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastRequestConfig(LeaseConfig):
    """global_least_request."""

    max_request_count: int = integer(
        "maxRequestCount",
        "the most requests in flight at an endpoint, above it the answer is 429; 0 for no limit",
        0,
        MAX_REQUEST_COUNT,
        0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixCacheConfig(LeaseConfig):
    """prefix_cache."""

    ttl_s: int = integer("redisKeyTTL", "seconds for which a prefix is remembered after its last use", 1, _DAY_S, 1800)
    tenant_header: str = text(
        "tenant_header", "the header of those who share prefixes; without it, all do", "", READABLE_HEADER
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointMetricsConfig(EndpointConfig):
    """endpoint_metrics, once called metrics_based."""

    metric_policy: str = choice("metric_policy", "how metrics decide", ("default", "least", "most"), "default")
    target_metric: str = text("target_metric", "the metric of least and most, required there", "")
    rate_limit: float = number("rate_limit", "the largest share of the last 100 picks for one endpoint", 0, 1, 1.0)
    slow_start_s: float = number("slow_start_s", SLOW_START, 0, 3600, 0.0)
    scrape_interval_ms: int = integer(
        "scrape_interval_ms", "stock Envoy: ms between two scrapes of an endpoint", 200, 60_000, 1000
    )
    metrics_path: str = text("metrics_path", "stock Envoy: the path of the metrics", "/metrics")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointHashConfig(LeaseConfig):
    """endpoint_hash."""

    hash_header: str = text("hash_header", "the header that names a session", DEFAULT_HASH_HEADER, READABLE_HEADER)
    load_factor: float = number("load_factor", "the most load of an endpoint, as a multiple of the mean", 1, 100, 1.25)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterMetricsConfig(ExplainedConfig):
    """cluster_metrics. `redis` is there if the in-flight counts of all gateways are asked for."""

    redis: RedisConfig | None
    mode: str = choice("mode", "what is compared", MODES)
    services: tuple[str, ...] = texts("service_list", "the names of the clusters to choose from")
    cluster_header: str = text("cluster_header", "the header that the route reads", DEFAULT_CLUSTER_HEADER, HEADER)
    queue_size: int = integer("queue_size", "how many of the last requests count", 1, 10_000, 100)
    rate_limit: float = number("rate_limit", "the largest share of requests for one cluster", 0, 1, 1.0)
    reroute: bool = boolean("reroute", "let Higress match the routes again after the choice", False)
    ewma_beta: float = number("ewma_beta", "AdaptiveScore: the weight of the newest value", 0, 1, 0.5)
    p2c_choices: int = integer("p2c_choices", "AdaptiveScore: how many random candidates are compared", 1, 1024, 2)
    ttft_weight: float = number("ttft_weight", "AdaptiveScore: weight of the time to the first token", 0, 1000, 0.7)
    total_latency_weight: float = number(
        "total_latency_weight", "AdaptiveScore: weight of the whole time", 0, 1000, 0.3
    )
    error_penalty: float = number("error_penalty", "AdaptiveScore: weight of the error rate", 0, 1000, 3.0)
    failure_cooldown_ms: int = integer(
        "failure_cooldown_ms",
        "AdaptiveScore: ms without traffic after a failure, if others can serve",
        0,
        3_600_000,
        30_000,
    )
    metrics_missing_policy: str = choice(
        "metrics_missing_policy", "AdaptiveScore: what decides without samples", ("least_busy",), "least_busy"
    )
    global_inflight_enabled: bool = boolean(
        "global_inflight_enabled", "AdaptiveScore: count the requests of all gateways, in Redis", False
    )
    global_inflight_key_prefix: str = text(
        "global_inflight_key_prefix", "names the counts that gateways share", "higress:adaptive_score_inflight"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterHashConfig(ExplainedConfig):
    """cluster_hash. `clusters` are (cluster, weight), the weights sum to 100."""

    clusters: tuple[tuple[str, int], ...]
    hash_header: str = text("hash_header", "the header whose value is hashed", DEFAULT_HASH_HEADER, READABLE_HEADER)
    cluster_header: str = text("cluster_header", "the header that the route reads", DEFAULT_CLUSTER_HEADER, HEADER)
    reroute: bool = boolean("reroute", "let Higress match the routes again after the choice", False)


PolicyConfig: TypeAlias = (
    LeastRequestConfig
    | PrefixCacheConfig
    | EndpointMetricsConfig
    | EndpointHashConfig
    | ClusterMetricsConfig
    | ClusterHashConfig
)
ENDPOINT_POLICIES: dict[str, type] = {
    "global_least_request": LeastRequestConfig,
    "prefix_cache": PrefixCacheConfig,
    "endpoint_metrics": EndpointMetricsConfig,
    "endpoint_hash": EndpointHashConfig,
}
CLUSTER_POLICIES: dict[str, type] = {"cluster_metrics": ClusterMetricsConfig, "cluster_hash": ClusterHashConfig}
POLICIES = ENDPOINT_POLICIES | CLUSTER_POLICIES
ALIASES = {"metrics_based": "endpoint_metrics"}
