"""Routes: which cluster a request goes to, by its domain and its path."""

from collections.abc import Sequence
from dataclasses import dataclass

from .headers import HeaderMap, to_str


@dataclass(frozen=True, slots=True)
class Route:
    """`domains` are exact, "*.suffix" or "*"; `cluster_header` names the request header that names the cluster."""

    name: str
    cluster: str
    cluster_header: str = ""
    prefix: str = "/"
    domains: tuple[str, ...] = ("*",)

    def takes(self, domain: str, path: str) -> bool:
        return path.startswith(self.prefix) and any(_is_domain(pattern, domain) for pattern in self.domains)

    def cluster_name(self, headers: HeaderMap) -> str:
        named = headers.get(self.cluster_header.encode()) if self.cluster_header else None
        return self.cluster if named is None else named.decode("utf-8", "replace")


def find_route(routes: Sequence[Route], headers: HeaderMap) -> Route | None:
    """The first that takes a request with these headers."""
    domain = without_port(to_str(headers.get(b":authority") or b"")).lower()
    path = to_str(headers.get(b":path") or b"")
    return next((route for route in routes if route.takes(domain, path)), None)


def without_port(authority: str) -> str:
    """An IPv6 address keeps its brackets."""
    host, colon, port = authority.rpartition(":")
    return host if colon and port.isdecimal() else authority


def _is_domain(pattern: str, domain: str) -> bool:
    if pattern.startswith("*"):
        return domain.endswith(pattern[1:].lower())
    return domain == pattern.lower()
