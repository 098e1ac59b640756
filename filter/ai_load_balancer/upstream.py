"""The endpoints of a request's cluster, and how a request is sent to one of them: what the two targets do differently.

Higress lists the hosts of the cluster and takes an override. Stock Envoy knows neither: the endpoints come from the
configuration or its admin interface, and its override_host load balancing reads a request header. Clients can send that
header too, so it is replaced or removed, always.
"""

from contextlib import suppress
from typing import Protocol

from proxywasm import HostError, HttpContext, Property, capabilities, higress
from proxywasm.enums import HeaderAction

from .admin_endpoints import INTERVAL_MS, AdminEndpoints
from .policies.request_features import MAX_BODY_BYTES
from .upstream_hosts import UpstreamHosts

ENDPOINT_HEADER = "x-gateway-destination-endpoint"
ENVOY_MAX_BODY_BYTES = 512 * 1024  # half of what a connection of stock Envoy holds back, unless it is told otherwise
HIGRESS_BUFFER_LIMIT = str(2 * MAX_BODY_BYTES)  # the limit is seen only after the part that went above it has come
NO_TICK_PERIOD_MS = 60_000  # of an upstream that has nothing to look after


class Upstream(Protocol):
    hold_request: int
    """What on_request_headers returns to hold a request until it is continued."""

    max_body_bytes: int
    """How much of a body can be held back."""

    tick_period_ms: int
    """How often `on_tick` is wanted."""

    def cluster(self) -> bytes | None:
        """The cluster of the current request; None if the gateway does not tell and must."""

    def scope(self) -> tuple[bytes, bytes] | None:
        """Route and cluster of the current request; None if the gateway does not tell."""

    def endpoints(self, cluster: bytes) -> tuple[str, ...]:
        """The healthy endpoints of the current request's cluster: the same object as long as they are the same.

        Raises HostError, or ValueError if the gateway's list cannot be read.
        """

    def send_to(self, context: HttpContext, endpoint: str) -> None:
        """Raises HostError."""

    def send_anywhere(self, context: HttpContext) -> None:
        """The proxy's own balancing chooses."""

    def make_room_for_body(self) -> None:
        """The body of the current request will be held back, up to `max_body_bytes`."""

    def on_tick(self, now_ms: int) -> None: ...


def forget_endpoint(context: HttpContext) -> None:
    """Removes a client's own choice of an endpoint, where the gateway would follow it."""
    if not capabilities.current().override_host:
        context.request_headers.remove(ENDPOINT_HEADER)


class HigressUpstream:
    hold_request = capabilities.HIGRESS.hold_request
    max_body_bytes = MAX_BODY_BYTES
    tick_period_ms = NO_TICK_PERIOD_MS

    def __init__(self) -> None:
        self._hosts = UpstreamHosts()

    def cluster(self) -> bytes | None:
        return _higress_cluster() or None

    def scope(self) -> tuple[bytes, bytes] | None:
        route, cluster = _higress_route(), _higress_cluster()
        return (route, cluster) if route and cluster else None

    def endpoints(self, cluster: bytes) -> tuple[str, ...]:
        return self._hosts.healthy(cluster, higress.upstream_hosts())

    def send_to(self, context: HttpContext, endpoint: str) -> None:
        higress.set_override_host(endpoint)

    def send_anywhere(self, context: HttpContext) -> None:
        pass

    def make_room_for_body(self) -> None:
        with suppress(HostError):
            _set_buffer_limit(HIGRESS_BUFFER_LIMIT)

    def on_tick(self, now_ms: int) -> None:
        pass


class EnvoyUpstream:
    """`endpoints` are those of the configuration; those that `admin` tells, if it is asked, replace them."""

    hold_request = int(HeaderAction.STOP_ITERATION)
    max_body_bytes = ENVOY_MAX_BODY_BYTES

    def __init__(self, endpoints: tuple[str, ...], admin: AdminEndpoints | None = None) -> None:
        self._endpoints = tuple(sorted(endpoints))
        self._admin = admin
        self._see_admin()
        self.tick_period_ms = INTERVAL_MS if admin is not None else NO_TICK_PERIOD_MS

    def cluster(self) -> bytes | None:
        return _envoy_cluster() or b""

    def scope(self) -> tuple[bytes, bytes] | None:
        # Stock Envoy's routes often have no name, and the counts can do without.
        return _envoy_route() or b"", _envoy_cluster() or b""

    def endpoints(self, cluster: bytes) -> tuple[str, ...]:
        return self._endpoints

    def send_to(self, context: HttpContext, endpoint: str) -> None:
        context.request_headers.set(ENDPOINT_HEADER, endpoint)

    def send_anywhere(self, context: HttpContext) -> None:
        forget_endpoint(context)

    def make_room_for_body(self) -> None:
        pass

    def on_tick(self, now_ms: int) -> None:
        if self._admin is not None:
            self._admin.on_tick(now_ms)
            self._see_admin()

    def _see_admin(self) -> None:
        if self._admin is not None and self._admin.endpoints is not None:
            self._endpoints = self._admin.endpoints


_set_buffer_limit = Property("set_decoder_buffer_limit").set
_higress_route = capabilities.HIGRESS.route_name.get
_higress_cluster = capabilities.HIGRESS.cluster_name.get
_envoy_route = capabilities.ENVOY.route_name.get
_envoy_cluster = capabilities.ENVOY.cluster_name.get
