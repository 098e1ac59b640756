"""From a WasmPlugin resource, as operators of Higress write it, to the configuration that the plugin gets.

Not part of the module that gateways load.
"""

from collections.abc import Mapping

KIND = "WasmPlugin"

# matchRules name what a rule applies to in words of Kubernetes; Higress hands them on under these keys.
_MATCHES = {"ingress": "_match_route_", "domain": "_match_domain_", "service": "_match_service_"}


def plugin_configuration(document: object) -> object:
    """The configuration in a WasmPlugin resource; anything else is taken for a configuration itself.

    Raises ValueError if the resource is not formed as one.
    """
    if not isinstance(document, Mapping) or document.get("kind") != KIND:
        return document
    spec = document.get("spec")
    if not isinstance(spec, Mapping):
        raise ValueError(f"spec: a {KIND} has an object here, found {spec!r}")
    configuration = dict(spec.get("defaultConfig") or {})
    rules = [_rule(rule, i) for i, rule in enumerate(spec.get("matchRules") or [])]
    if rules:
        configuration["_rules_"] = [rule for rule in rules if rule is not None]
    return configuration


def _rule(rule: object, position: int) -> dict[str, object] | None:
    """One rule of `_rules_`; None for a rule that switches the plugin off."""
    if not isinstance(rule, Mapping):
        raise ValueError(f"spec.matchRules[{position}]: expected an object, found {rule!r}")
    if rule.get("configDisable"):
        return None
    matches = {key: list(rule[word]) for word, key in _MATCHES.items() if rule.get(word)}
    return {**(rule.get("config") or {}), **matches}
