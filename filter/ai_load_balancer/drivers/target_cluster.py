"""Sending a request to a chosen cluster: a request header names it, and the route reads it (`cluster_header`)."""

from proxywasm import HttpContext, Property, capabilities, foreign

_keep_route_cache = Property("clear_route_cache").set


def send_to_cluster(context: HttpContext, cluster_header: str, cluster: str, reroute: bool) -> None:
    """Replaces the header, so that a client's own value has no effect. Raises HostError.

    Higress matches the routes again when a request header changes, which may end at another route: it is kept from it,
    unless `reroute` asks for it. Stock Envoy does so only when it is told, and needs it to see the new cluster.
    """
    if not capabilities.current().keeps_route_cache:
        context.request_headers.set(cluster_header, cluster)
        foreign.clear_route_cache()
        return
    if not reroute:
        _keep_route_cache("off")
    context.request_headers.set(cluster_header, cluster)
