"""The whole configuration: the global one, and the rules that override it for some requests."""

import json
from dataclasses import dataclass, replace

from .policies import Connection, PolicyConfig, RedisConfig
from .policy_reader import read_policy
from .reader import ConfigError, ConfigReader, type_name
from .rules import Rule, matcher

MAX_RULES = 1024


@dataclass(frozen=True, slots=True)
class Config:
    """`rules` in their order, then `default`, which is None if there are rules only. `warnings` are for the log."""

    plugin_id: str
    rules: tuple[Rule[PolicyConfig], ...]
    default: PolicyConfig | None
    warnings: tuple[str, ...]

    def redis_configs(self) -> list[RedisConfig]:
        """Those of the policies that use Redis, in the order in which their drivers are made."""
        policies = [rule.config for rule in self.rules] + ([self.default] if self.default else [])
        configs = [getattr(policy, "redis", None) for policy in policies]
        return [config for config in configs if config is not None]


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
        default = read_policy(ConfigReader(global_values, "", global_errors, warnings), has_redis)
        if global_errors:
            default = None
            if rules:
                warnings += [f"{error} (the global configuration is left out)" for error in global_errors]
            else:
                errors += global_errors
    if errors:
        raise ConfigError(errors)
    config = Config(plugin_id, rules, default, tuple(warnings))
    return replace(config, warnings=(*warnings, *_conflicts(config.redis_configs())))


def _conflicts(configs: list[RedisConfig]) -> list[str]:
    """A warning for each setting that differs between policies with one Redis, which gateways reach in one way only."""
    warnings: dict[str, None] = {}
    first: dict[str, Connection] = {}
    for config in configs:
        connection = config.connection
        used = first.setdefault(connection.cluster, connection)
        for key, ours, theirs in zip(Connection._fields, connection, used, strict=True):
            if ours != theirs:
                name = key.removesuffix("_ms")
                warnings[f"lb_config.{name}: differs for {connection.cluster}; the first policy's is used"] = None
    return list(warnings)


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
        errors.append(f"_rules_: expected a list of objects, found {type_name(value)}")
        return ()
    if len(value) > MAX_RULES:
        errors.append(f"_rules_: at most {MAX_RULES} are allowed, found {len(value)}")
        return ()
    rules: list[Rule[PolicyConfig]] = []
    for i, rule in enumerate(value):
        reader = ConfigReader(_over(global_values, rule), f"_rules_[{i}]", errors, warnings)
        rules.append(Rule(matcher(reader), read_policy(reader, has_redis)))
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
