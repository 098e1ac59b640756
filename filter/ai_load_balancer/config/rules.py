"""Which configuration a request gets: the first rule of `_rules_` that matches, else the global one.

A rule has one category, the first of these that it has a list for, and the lists of lower categories are ignored:
route (with services too: both must match), domain, service, route prefix. As in Higress's wasm-go matcher.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from .reader import ConfigReader

T = TypeVar("T")

ROUTES, DOMAINS, SERVICES, ROUTE_PREFIXES = (
    "_match_route_",
    "_match_domain_",
    "_match_service_",
    "_match_route_prefix_",
)
MATCH_KEYS = (ROUTES, DOMAINS, SERVICES, ROUTE_PREFIXES)
_CLUSTER_PARTS = 4  # outbound|port|subset|fqdn


class Request(Protocol):
    """What rules look at. `authority` may carry a port; `cluster` is the name of the service's cluster."""

    @property
    def route(self) -> str: ...
    @property
    def authority(self) -> str: ...
    @property
    def cluster(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Rule(Generic[T]):
    """The requests that `matches` says yes to get `config`."""

    matches: Callable[[Request], bool]
    config: T


def matcher(reader: ConfigReader) -> Callable[[Request], bool]:
    """The predicate of the rule under `reader`; one without any list is reported."""
    routes, domains, services, prefixes = (reader.texts(key) for key in MATCH_KEYS)
    if routes and services:
        return lambda request: request.route in routes and _is_service(request.cluster, services)
    if routes:
        return lambda request: request.route in routes
    if domains:
        return lambda request: _is_domain(request.authority, domains)
    if services:
        return lambda request: _is_service(request.cluster, services)
    if prefixes:
        return lambda request: request.route.startswith(prefixes)
    if not any(reader.raw(key) for key in MATCH_KEYS):
        reader.error("", f"a rule needs at least one of {', '.join(MATCH_KEYS)}")
    return lambda request: False


def _is_domain(authority: str, patterns: tuple[str, ...]) -> bool:
    host = without_port(authority)
    return any(_is_like(host, pattern) for pattern in patterns)


def _is_like(host: str, pattern: str) -> bool:
    """A leading * matches any beginning, else a trailing * any end, else the whole must be the same, case too."""
    if pattern.startswith("*"):
        return host.endswith(pattern[1:])
    if pattern.endswith("*"):
        return host.startswith(pattern[:-1])
    return host == pattern


def without_port(authority: str) -> str:
    """`llm.example:8080` -> `llm.example`, `[::1]:80` -> `[::1]`; a bare IPv6 address stays as it is."""
    host, colon, port = authority.rpartition(":")
    if not colon or not port.isdigit():
        return authority
    is_bare_ipv6 = ":" in host and not host.endswith("]")
    return authority if is_bare_ipv6 else host


def _is_service(cluster: str, services: tuple[str, ...]) -> bool:
    parts = cluster.split("|")
    if len(parts) != _CLUSTER_PARTS:
        return False
    _, port, _, fqdn = parts
    return fqdn in services or f"{fqdn}:{port}" in services
