"""Clusters, their endpoints, and the choice of one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from .headers import HeaderMap

HEALTHY = "Healthy"
OVERRIDE_HEADER = b"x-gateway-destination-endpoint"  # of Envoy's load balancing policy override_host
PAIRS_CACHED_MAX = 1024  # the JSON of an endpoint with its metrics text is asked for at every request


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`address` is "ip:port"; `metrics` the Prometheus text that the host's health check stored, if any."""

    address: str
    health: str = HEALTHY
    metrics: str = ""


@lru_cache(PAIRS_CACHED_MAX)
def endpoint_pair(endpoint: Endpoint) -> tuple[bytes, bytes]:
    """How Higress lists an endpoint: its address, and JSON about it."""
    about = {"health_status": endpoint.health}
    if endpoint.metrics:
        about["metrics"] = endpoint.metrics
    return endpoint.address.encode(), json.dumps(about, separators=(",", ":")).encode()


@dataclass(slots=True)
class Cluster:
    """A named list of endpoints with round robin over the healthy ones."""

    name: str
    endpoints: Sequence[Endpoint] = ()
    _turn: int = field(default=0, repr=False)

    def find(self, address: str) -> Endpoint | None:
        return next((endpoint for endpoint in self.endpoints if endpoint.address == address), None)

    def named_by(self, headers: HeaderMap) -> Endpoint | None:
        """The override_host policy: the first of the addresses in the header that is an endpoint here."""
        named = headers.get(OVERRIDE_HEADER) or b""
        found = (self.find(address.strip()) for address in named.decode("utf-8", "replace").split(","))
        return next(filter(None, found), None)

    def next_endpoint(self) -> Endpoint | None:
        healthy = [endpoint for endpoint in self.endpoints if endpoint.health == HEALTHY]
        if not healthy:
            return None
        self._turn += 1
        return healthy[(self._turn - 1) % len(healthy)]
