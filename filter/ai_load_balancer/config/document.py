"""The whole configuration: the global one, and the rules that override it for some requests."""

import json
from dataclasses import dataclass
from typing import TypeAlias

from .keys import read
from .policies import POLICIES, LeastRequestConfig, RedisConfig
from .reader import ConfigError, ConfigReader, shown, type_name
from .rules import Rule, matcher

MAX_ENDPOINTS = 1024  # as many pairs as a host takes in one map
MAX_RULES = 1024

_PLANNED_POLICIES = ("prefix_cache", "endpoint_metrics", "metrics_based", "cluster_metrics", "cluster_hash")

PolicyConfig: TypeAlias = LeastRequestConfig


@dataclass(frozen=True, slots=True)
class Config:
    """`rules` in their order, then `default`, which is None if there are rules only. `warnings` are for the log."""

    plugin_id: str
    rules: tuple[Rule[PolicyConfig], ...]
    default: PolicyConfig | None
    warnings: tuple[str, ...]


def parse(text: bytes, has_redis: bool) -> Config:
    """Reads the plugin's JSON configuration for a target with or without Redis. Raises ConfigError.

    A rule that names no policy is the global configuration with its own keys put over it, those of lb_config one by
    one. Where there are rules, a global configuration that cannot be used is a warning.
    """
    values = _json_object(text)
    warnings: list[str] = []
    plugin_id = ConfigReader(values, "", [], []).text("_plugin_id_")
    global_values = {key: value for key, value in values.items() if key not in ("_rules_", "_plugin_id_")}
    errors: list[str] = []
    rules = _rules(values.get("_rules_"), global_values, has_redis, errors, warnings)
    default: PolicyConfig | None = None
    if global_values or not rules:
        global_errors: list[str] = []
        default = _policy(ConfigReader(global_values, "", global_errors, warnings), has_redis)
        if global_errors:
            default = None
            if rules:
                warnings += [f"{error} (the global configuration is left out)" for error in global_errors]
            else:
                errors += global_errors
    if errors:
        raise ConfigError(errors)
    return Config(plugin_id, rules, default, tuple(warnings))


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


def _rules(
    value: object, global_values: dict[str, object], has_redis: bool, errors: list[str], warnings: list[str]
) -> tuple[Rule[PolicyConfig], ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(rule, dict) for rule in value):
        errors.append(f"_rules_: expected a list of objects, found {shown(value)}")
        return ()
    if len(value) > MAX_RULES:
        errors.append(f"_rules_: at most {MAX_RULES} are allowed, found {len(value)}")
        return ()
    rules: list[Rule[PolicyConfig]] = []
    for i, rule in enumerate(value):
        reader = ConfigReader(_over(global_values, rule), f"_rules_[{i}]", errors, warnings)
        rules.append(Rule(matcher(reader), _policy(reader, has_redis)))
    return tuple(rules)


def _over(global_values: dict[str, object], rule: dict[str, object]) -> dict[str, object]:
    """A rule's values with what it inherits."""
    if "lb_policy" in rule:
        return rule
    merged = {**global_values, **rule}
    inherited, own = global_values.get("lb_config"), rule.get("lb_config")
    if isinstance(inherited, dict) and isinstance(own, dict):
        merged["lb_config"] = {**inherited, **own}
    return merged


def _policy(top: ConfigReader, has_redis: bool) -> PolicyConfig:
    lb_type = top.choice("lb_type", ("endpoint", "cluster"), default="endpoint")
    policy = top.raw("lb_policy")
    supported = ", ".join(POLICIES)
    if policy in _PLANNED_POLICIES:
        top.error("lb_policy", f"{policy} is not supported yet; supported: {supported}")
    elif policy not in POLICIES:
        top.error("lb_policy", f"is required, one of: {supported}; found {shown(policy)}")
    elif lb_type != "endpoint":
        top.error("lb_type", f"{policy} chooses an endpoint: expected endpoint, found {shown(lb_type)}")
    config = _least_request(top, has_redis)
    top.finish()
    return config


def _least_request(top: ConfigReader, has_redis: bool) -> LeastRequestConfig:
    reader = top.section("lb_config")
    # Leases expire by themselves, so there is nothing to clean, and no second form of the lookup.
    reader.ignore("cleanInterval", "enableDetailLog")
    redis: RedisConfig | None = None
    endpoints: tuple[str, ...] = ()
    if has_redis:
        top.ignore("endpoints")
        redis = read(RedisConfig, reader)
    else:
        reader.ignore("serviceFQDN", "servicePort", "username", "password", "timeout", "database")
        endpoints = _endpoints(top)
    config = read(LeastRequestConfig, reader, redis=redis, endpoints=endpoints)
    reader.finish()
    return config


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
