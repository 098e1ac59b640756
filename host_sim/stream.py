"""An HTTP stream and the plugins that it passes: request and response, local reply, endpoint, and its end.

A request passes the plugins in their order, a response in the reverse one. Nothing here waits. The peers' bytes come in
through `request_*`, `response_*` and `abort`; what the peers get is in `upstream` and `downstream`. Whoever carries
bytes sets `on_output` and looks there again when it is called.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .cluster import Cluster, Endpoint
from .contexts import RootContext
from .direction import Direction, Hold
from .dispatcher import Dispatcher
from .gateway import Gateway
from .headers import HeaderMap, Headers
from .http_filter import HttpFilter
from .local_reply import LocalReply, reply_headers
from .records import Trace
from .routes import Route, find_route

# What Envoy answers when a plugin removed them: its router without the method, and no route matches without a path.
_REQUIRED = ((b":method", 503, b"missing required header: :method"), (b":path", 404, b""))


@dataclass(slots=True)
class Received:
    """What one peer of the stream has got so far."""

    headers: HeaderMap | None = None
    chunks: list[bytes] = field(default_factory=list)
    trailers: HeaderMap | None = None
    metadata: list[HeaderMap] = field(default_factory=list)
    ended: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)


class HttpStream:
    """One context per plugin of the chain; `vm`, `context_id`, `request` and `response` are those of the first.

    `properties` are shared by the plugins, as Envoy's filter state is.
    """

    def __init__(self, gateway: Gateway, chain: Sequence[RootContext]) -> None:
        self.gateway = gateway
        self.vm = chain[0].vm
        self.trace = Trace()
        self.filters = [HttpFilter(self, root, position) for position, root in enumerate(chain)]
        self.request = self.filters[0].request
        self.response = self.filters[0].response
        self.upstream = Received()
        self.downstream = Received()
        self.on_output: Callable[[], None] = lambda: None
        self.properties: dict[bytes, bytes] = {}
        self.filter_state: dict[str, bytes] = {}  # set by set_envoy_filter_state
        self.span_tags: dict[str, bytes] = {}  # Higress: property trace_span_tag.<name>
        self.local_reply: LocalReply | None = None
        self.closed = False
        self.reset_reason = ""
        self.endpoint: Endpoint | None = None
        self.override_host = ""
        self.overridden = False
        self.route_cache_clears = 0
        self._route: Route | None = None
        self._cluster: Cluster | None = None
        self._route_is_stale = True

    def __repr__(self) -> str:
        state = "closed" if self.closed else " ".join(f"{item.request!r} {item.response!r}" for item in self.filters)
        return f"<stream {self.context_id}: {state}>"

    @property
    def context_id(self) -> int:
        return self.filters[0].context_id

    @property
    def paused(self) -> bool:
        if self.closed:
            return False
        request_matters = self.local_reply is None
        return any(
            item.response.hold is not Hold.NONE or (request_matters and item.request.hold is not Hold.NONE)
            for item in self.filters
        )

    def wants_upstream(self) -> bool:
        """False once a local reply or the end of the stream makes the upstream's answer useless."""
        return not self.closed and self.local_reply is None

    def stopped(self, is_request: bool) -> bool:
        """Nothing of this direction goes on any more."""
        return self.closed or (is_request and self.local_reply is not None)

    # The client

    def request_headers(self, headers: Headers, end_of_stream: bool = True) -> None:
        with self._event():
            self.request.receive_headers(HeaderMap(headers), end_of_stream)

    def request_body(self, data: bytes, end_of_stream: bool = True) -> None:
        with self._event():
            if self.wants_upstream():
                self.request.receive_data(data, end_of_stream)

    def request_trailers(self, trailers: Headers) -> None:
        with self._event():
            if self.wants_upstream():
                self.request.receive_trailers(HeaderMap(trailers))

    def request_metadata(self, metadata: Headers) -> None:
        """An HTTP/2 METADATA frame."""
        with self._event():
            if self.wants_upstream():
                self.request.receive_metadata(HeaderMap(metadata))

    def abort(self) -> None:
        """The client goes away."""
        with self._event():
            self.reset("the client went away")

    # The upstream

    def response_headers(self, headers: Headers, end_of_stream: bool = True) -> None:
        with self._event():
            if self.wants_upstream():
                self._last_response().receive_headers(HeaderMap(headers), end_of_stream)

    def response_body(self, data: bytes, end_of_stream: bool = True) -> None:
        with self._event():
            if self.wants_upstream():
                self._last_response().receive_data(data, end_of_stream)

    def response_trailers(self, trailers: Headers) -> None:
        with self._event():
            if self.wants_upstream():
                self._last_response().receive_trailers(HeaderMap(trailers))

    def response_metadata(self, metadata: Headers) -> None:
        """An HTTP/2 METADATA frame."""
        with self._event():
            if self.wants_upstream():
                self._last_response().receive_metadata(HeaderMap(metadata))

    def upstream_failed(self, status: int, details: str, text: str) -> None:
        """The upstream cannot be reached or broke off: Envoy answers itself, or resets a begun response."""
        with self._event():
            if self.wants_upstream():
                self.reply(LocalReply(status, details, text.encode()))

    # What the gateway decides

    def route(self) -> Route | None:
        """Looked up once, and again after the route cache was cleared."""
        if self._route_is_stale:
            self._route_is_stale = False
            gateway = self.gateway
            headers = self.request.headers or HeaderMap()
            if gateway.routes:
                self._route = find_route(gateway.routes, headers)
            else:
                self._route = Route(gateway.route_name, gateway.cluster_name, gateway.cluster_header)
            self._cluster = gateway.clusters.get(self._route.cluster_name(headers)) if self._route is not None else None
        return self._route

    def route_name(self) -> str:
        route = self.route()
        return route.name if route is not None else ""

    def cluster(self) -> Cluster | None:
        """Of the route; looked up once, and again after the route cache was cleared."""
        self.route()
        return self._cluster

    def known_route(self) -> tuple[Route | None, Cluster | None]:
        """As of the last look-up, whatever has changed since: what stock Envoy's properties tell."""
        return (self._route, self._cluster) if self._route is not None else (self.route(), self._cluster)

    def clear_route_cache(self) -> None:
        self.route_cache_clears += 1
        self._route_is_stale = True

    def reply(self, reply: LocalReply) -> None:
        """Answer in the upstream's place; a second reply is ignored, a begun response is reset.

        The reply passes the plugins from the upstream's side, unless a response does so already.
        """
        if self.closed or self.local_reply is not None:
            return
        if self.downstream.headers is not None:
            self.reset(f"a local reply after the response began: {reply.details}")
            return
        response = self._last_response()
        in_response = response.headers is not None
        self.local_reply = reply
        for item in self.filters:
            item.request.stop()
        headers, body = reply_headers(reply, self.request.headers)
        if in_response:
            for item in self.filters:
                item.response.stop()
                item.response.hold = Hold.NONE
            self.downstream.headers = headers
            self.downstream.chunks += [body] if body else []
            self._end(self.downstream)
            return
        response.receive_headers(headers, not body)
        if body and not self.closed:
            response.receive_data(body, True)

    def fail(self) -> None:
        """A VM is dead and its plugin fails closed."""
        self.reply(LocalReply(503, "wasm_fail_stream", b"", grpc_status=14))

    def reset(self, reason: str) -> None:
        if self.closed:
            return
        self.reset_reason = reason
        for item in self.filters:
            item.request.stop()
            item.response.stop()
        self._close()

    def proceed(self, direction: Direction) -> None:
        """Continue what a plugin has stopped, as its continue_stream does."""
        if not self.stopped(direction.name == "request"):
            direction.proceed()

    def inject_response_data(self, data: bytes, end: bool) -> None:
        if not self.closed and self.downstream.headers is not None:
            self._deliver_data(self.downstream, data, end)

    def set_buffer_limit(self, is_request: bool, size_max: int) -> None:
        """For all plugins of the stream."""
        for item in self.filters:
            (item.request if is_request else item.response).buffer_size_max = size_max

    def buffer_overflow(self, is_request: bool) -> None:
        """More is held back than the buffer limit allows: 413 for a request, 500 for a response, as Envoy answers."""
        if is_request:
            self.reply(LocalReply(413, "request_payload_too_large", b"Payload Too Large"))
        else:
            self.reply(LocalReply(500, "response_payload_too_large", b"Internal Server Error"))

    # What a plugin passes on: to the next one, or to the peer

    def pass_headers(self, item: HttpFilter, direction: Direction, end: bool) -> None:
        is_request = direction is item.request
        if self.stopped(is_request):
            return
        assert direction.headers is not None
        following = self._following(item, is_request)
        if following is not None:
            following.receive_headers(direction.headers, end)
            return
        if is_request and not self._choose_endpoint(direction.headers):
            return
        if not is_request and b":status" not in direction.headers:
            self.reply(LocalReply(502, "missing_status", b""))
            return
        peer = self.upstream if is_request else self.downstream
        peer.headers = direction.headers.copy()
        self._sent(peer, end)

    def pass_data(self, item: HttpFilter, direction: Direction, data: bytes, end: bool) -> None:
        is_request = direction is item.request
        if self.stopped(is_request):
            return
        following = self._following(item, is_request)
        if following is not None:
            following.receive_data(data, end)
        else:
            self._deliver_data(self.upstream if is_request else self.downstream, data, end)

    def pass_trailers(self, item: HttpFilter, direction: Direction) -> None:
        is_request = direction is item.request
        if self.stopped(is_request):
            return
        assert direction.trailers is not None
        following = self._following(item, is_request)
        if following is not None:
            following.receive_trailers(direction.trailers)
            return
        peer = self.upstream if is_request else self.downstream
        peer.trailers = direction.trailers
        self._sent(peer, True)

    def pass_metadata(self, item: HttpFilter, direction: Direction, metadata: HeaderMap) -> None:
        is_request = direction is item.request
        following = self._following(item, is_request)
        if following is not None:
            following.receive_metadata(metadata)
            return
        peer = self.upstream if is_request else self.downstream
        peer.metadata.append(metadata)
        self._sent(peer, False)

    # Inside

    def _event(self) -> Dispatcher:
        return self.gateway.dispatcher

    def _last_response(self) -> Direction:
        """Where a response enters the chain."""
        return self.filters[-1].response

    def _following(self, item: HttpFilter, is_request: bool) -> Direction | None:
        if is_request:
            position = item.position + 1
            return self.filters[position].request if position < len(self.filters) else None
        return self.filters[item.position - 1].response if item.position else None

    def _choose_endpoint(self, headers: HeaderMap) -> bool:
        """On higress the override host is strict; on envoy an unknown one falls back to round robin."""
        for name, status, text in _REQUIRED:
            if name not in headers:
                self.reply(LocalReply(status, "missing_required_headers", text))
                return False
        cluster = self.cluster()
        if cluster is None:
            missing = (404, "route_not_found") if self.route() is None else (503, "cluster_not_found")
            self.reply(LocalReply(*missing, b""))
            return False
        if self.vm.target == "higress" and self.override_host:
            self.endpoint = cluster.find(self.override_host)
            self.overridden = self.endpoint is not None
        else:
            named = cluster.named_by(headers) if self.vm.target == "envoy" else None
            self.overridden = named is not None
            self.endpoint = named or cluster.next_endpoint()
        if self.endpoint is None:
            self.reply(LocalReply(503, "no_healthy_upstream", b"no healthy upstream"))
            return False
        return True

    def _deliver_data(self, peer: Received, data: bytes, end: bool) -> None:
        if data:
            peer.chunks.append(data)
        self._sent(peer, end)

    def _sent(self, peer: Received, end: bool) -> None:
        if end:
            self._end(peer)
        else:
            self.on_output()

    def _end(self, peer: Received) -> None:
        peer.ended = True
        if peer is self.downstream:
            self._close()
        else:
            self.on_output()

    def _close(self) -> None:
        self.closed = True
        if self.request.headers is not None:  # else no plugin has heard of it
            for item in self.filters:
                item.log()
            for item in self.filters:
                item.delete()
        self.on_output()
