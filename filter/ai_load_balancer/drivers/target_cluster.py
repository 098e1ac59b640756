"""Sending a request to a chosen cluster: a request header names it, and the route reads it (`cluster_header`)."""

from proxywasm import HttpContext, Property, capabilities, foreign

from ..upstream import ENDPOINT_HEADER

_keep_route_cache = Property("clear_route_cache").set
_set_header = HttpContext.request_headers.set
_remove_header = HttpContext.request_headers.remove


class TargetCluster:
    """Sends requests to clusters by the header `cluster_header`.

    Higress matches the routes again when a request header changes, which may end at another route: it is kept from it,
    unless `reroute` asks for it. Stock Envoy does so only when it is told, and needs it to see the new cluster.
    """

    def __init__(self, cluster_header: str, reroute: bool) -> None:
        self._header = cluster_header
        self._asks_to_keep_route = capabilities.current().keeps_route_cache and not reroute
        self._asks_for_route = not capabilities.current().keeps_route_cache

    def send(self, cluster: str) -> None:
        """Replaces the header of the current request, so that a client's own value has no effect. Raises HostError."""
        if self._asks_to_keep_route:
            _keep_route_cache("off")
        _set_header(self._header, cluster)
        if self._asks_for_route:
            _remove_header(ENDPOINT_HEADER)  # a client's own: the cluster chooses its endpoint
            foreign.clear_route_cache()
