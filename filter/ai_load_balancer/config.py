"""The plugin's configuration: JSON in, one frozen dataclass out, or every error at once."""

import json
from dataclasses import dataclass

from .config_reader import ConfigError, ConfigReader, shown, type_name

MAX_ENDPOINTS = 1024  # as many pairs as a host takes in one map
MAX_TIMEOUT_MS = 600_000
MAX_REQUEST_COUNT = 2**31 - 1
DEFAULT_REDIS_TIMEOUT_MS = 3000

SUPPORTED_POLICIES = ("global_least_request",)
_PLANNED_POLICIES = ("prefix_cache", "endpoint_metrics", "metrics_based", "cluster_metrics", "cluster_hash")


@dataclass(frozen=True, slots=True)
class RedisConfig:
    """Where Redis is, as the gateway knows it."""

    service_fqdn: str
    service_port: int
    username: str
    password: str
    timeout_ms: int
    database: int

    @property
    def cluster(self) -> str:
        return f"outbound|{self.service_port}||{self.service_fqdn}"

    def __repr__(self) -> str:
        return f"RedisConfig({self.cluster!r}, database={self.database}, timeout_ms={self.timeout_ms})"


@dataclass(frozen=True, slots=True)
class LeastRequestConfig:
    """global_least_request. `redis` is there on the targets that have it, `endpoints` on those that do not."""

    redis: RedisConfig | None
    endpoints: tuple[str, ...]
    max_request_count: int


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration. `warnings` are for the log."""

    plugin_id: str
    policy: LeastRequestConfig
    warnings: tuple[str, ...]


def parse(text: bytes, has_redis: bool) -> Config:
    """Reads the plugin's JSON configuration for a target with or without Redis. Raises ConfigError."""
    errors: list[str] = []
    warnings: list[str] = []
    top = ConfigReader(_json_object(text), "", errors, warnings)
    plugin_id = top.text("_plugin_id_")
    if top.raw("_rules_"):
        top.error("_rules_", "rules by route, domain or service are not supported yet; configure without them")
    _check_policy(top)
    policy = _least_request(top, has_redis)
    top.finish()
    if errors:
        raise ConfigError(errors)
    return Config(plugin_id, policy, tuple(warnings))


def _json_object(text: bytes) -> dict[str, object]:
    try:
        value = json.loads(text)
    except RecursionError:
        raise ConfigError(["the configuration is nested too deeply to be read"]) from None
    except ValueError as error:
        raise ConfigError([f"the configuration is not JSON: {error}"]) from error
    if not isinstance(value, dict):
        raise ConfigError([f"the configuration must be a JSON object, found {type_name(value)}"])
    return value


def _check_policy(top: ConfigReader) -> None:
    lb_type = top.choice("lb_type", ("endpoint", "cluster"), default="endpoint")
    policy = top.raw("lb_policy")
    supported = ", ".join(SUPPORTED_POLICIES)
    if policy in _PLANNED_POLICIES:
        top.error("lb_policy", f"{policy} is not supported yet; supported: {supported}")
    elif policy not in SUPPORTED_POLICIES:
        top.error("lb_policy", f"is required, one of: {supported}; found {shown(policy)}")
    elif lb_type != "endpoint":
        top.error("lb_type", f"{policy} chooses an endpoint: expected endpoint, found {shown(lb_type)}")


def _least_request(top: ConfigReader, has_redis: bool) -> LeastRequestConfig:
    reader = top.section("lb_config")
    # Leases expire by themselves, so there is nothing to clean, and no second form of the lookup.
    reader.ignore("cleanInterval", "enableDetailLog")
    max_request_count = reader.integer("maxRequestCount", 0, 0, MAX_REQUEST_COUNT)
    redis: RedisConfig | None = None
    endpoints: tuple[str, ...] = ()
    if has_redis:
        top.ignore("endpoints")
        redis = _redis(reader)
    else:
        reader.ignore("serviceFQDN", "servicePort", "username", "password", "timeout", "database")
        endpoints = _endpoints(top)
    reader.finish()
    return LeastRequestConfig(redis, endpoints, max_request_count)


def _redis(reader: ConfigReader) -> RedisConfig:
    return RedisConfig(
        service_fqdn=reader.required_text("serviceFQDN"),
        service_port=reader.required_integer("servicePort", 1, 65535),
        username=reader.text("username"),
        password=reader.text("password"),
        timeout_ms=reader.integer("timeout", 0, 0, MAX_TIMEOUT_MS) or DEFAULT_REDIS_TIMEOUT_MS,
        database=reader.integer("database", 0, 0, 2**31 - 1),
    )


def _endpoints(top: ConfigReader) -> tuple[str, ...]:
    value = top.raw("endpoints")
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
