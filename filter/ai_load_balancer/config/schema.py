"""The configuration described for machines and for people, from the dataclasses that also read it.

Not part of the module that gateways load.
"""

from dataclasses import MISSING, fields
from typing import Any

from .document import MAX_RULES
from .keys import Key, keys_of
from .policies import ALIASES, POLICIES, RedisConfig
from .policy_reader import MAX_CLUSTERS, MAX_ENDPOINTS
from .rules import MATCH_KEYS

_CLUSTERS = {
    "type": "array",
    "maxItems": MAX_CLUSTERS,
    "description": "cluster_hash: the clusters with their weights, which sum to 100",
    "items": {
        "type": "object",
        "properties": {"cluster": {"type": "string"}, "weight": {"type": ["integer", "string"], "minimum": 1}},
        "required": ["cluster", "weight"],
    },
}


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a plugin configuration. Numbers are also taken as strings, which it allows."""
    own = _properties()
    lists = {key: {"type": "array", "items": {"type": "string"}} for key in MATCH_KEYS}
    rule = {
        "type": "object",
        "properties": {**lists, **own},
        "anyOf": [{"required": [key]} for key in MATCH_KEYS],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ai-load-balancer",
        "type": "object",
        "properties": {**own, "_rules_": {"type": "array", "items": rule, "maxItems": MAX_RULES}},
    }


def reference_table() -> str:
    """Every key of every policy as Markdown."""
    lines = ["| policy | key | type | default | meaning |", "|---|---|---|---|---|"]
    for policy, config_class in POLICIES.items():
        for key, default in _keys(config_class):
            shown = "required" if default is MISSING else f"`{default!r}`" if default != "" else "empty"
            lines.append(f"| `{policy}` | `lb_config.{key.name}` | {_range(key)} | {shown} | {key.meaning} |")
    return "\n".join(lines) + "\n"


def _keys(config_class: type) -> list[tuple[Key, object]]:
    """The keys of a policy with their defaults, those of its Redis first."""
    classes = [RedisConfig, config_class] if "redis" in {item.name for item in fields(config_class)} else [config_class]
    found: list[tuple[Key, object]] = []
    for owner in classes:
        defaults = {item.name: item.default for item in fields(owner)}
        found += [(key, defaults[name]) for name, key in keys_of(owner).items()]
    return found


def _properties() -> dict[str, Any]:
    keys = {key.name: _property(key) for config_class in POLICIES.values() for key, _ in _keys(config_class)}
    return {
        "lb_type": {"enum": ["endpoint", "cluster"]},
        "lb_policy": {"enum": [*POLICIES, *ALIASES]},
        "lb_config": {"type": "object", "properties": {**keys, "clusters": _CLUSTERS}},
        "endpoints": {
            "type": "array",
            "items": {"type": "string"},
            "maxItems": MAX_ENDPOINTS,
            "description": "ip:port of each endpoint, on a gateway that cannot list them (stock Envoy)",
        },
    }


def _property(key: Key) -> dict[str, Any]:
    described: dict[str, Any] = {"description": key.meaning}
    if key.kind == "choice":
        return {**described, "enum": list(key.choices)}
    if key.kind == "strings":
        return {**described, "type": "array", "items": {"type": "string"}, "minItems": 1}
    if key.kind in ("integer", "number"):
        return {**described, "type": [key.kind, "string"], "minimum": key.minimum, "maximum": key.maximum}
    if key.pattern:
        described["pattern"] = f"{key.pattern.regex}|^$"
    return {**described, "type": key.kind}


def _range(key: Key) -> str:
    if key.kind == "choice":
        return " or ".join(f"`{choice}`" for choice in key.choices)
    if key.kind in ("integer", "number"):
        return f"{key.kind}, {key.minimum:g} to {key.maximum:g}" if key.maximum < 1e9 else key.kind
    return "list of strings" if key.kind == "strings" else key.kind
