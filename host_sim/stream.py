"""An HTTP stream with one filter: request and response, local reply, endpoint, and its end.

Nothing here waits. The peers' bytes come in through `request_*`, `response_*` and `abort`; what the peers get is in
`upstream` and `downstream`. Whoever carries bytes sets `on_output` and looks there again when it is called.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxywasm.enums import HeaderAction

from .abi import ABI_HIGRESS
from .cluster import Cluster, Endpoint
from .codec import Pair
from .direction import Direction, Hold
from .headers import HeaderMap, Headers
from .records import Trace
from .routes import Route, find_route

if TYPE_CHECKING:
    from .vm import Vm


@dataclass(frozen=True, slots=True)
class LocalReply:
    """A reply by the gateway itself; `details` are Envoy's response code details."""

    status: int
    details: str
    body: bytes
    headers: tuple[Pair, ...] = ()
    by_filter: bool = False


@dataclass(slots=True)
class Received:
    """What one peer of the stream has got so far."""

    headers: HeaderMap | None = None
    chunks: list[bytes] = field(default_factory=list)
    trailers: HeaderMap | None = None
    ended: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)


class HttpStream:
    """Made by `Vm.open_stream`. `context_id` is the id of its context in the guest."""

    def __init__(self, vm: "Vm", context_id: int) -> None:
        self.vm = vm
        self.context_id = context_id
        size_max = vm.gateway.buffer_size_max
        self.request = Direction("request", self, size_max)
        self.response = Direction("response", self, size_max)
        self.upstream = Received()
        self.downstream = Received()
        self.on_output: Callable[[], None] = lambda: None
        self.trace = Trace()
        self.properties: dict[bytes, bytes] = {}
        self.local_reply: LocalReply | None = None
        self.closed = False
        self.reset_reason = ""
        self.logging = False  # on_log is running: maps can be read, not changed
        self.endpoint: Endpoint | None = None
        self.override_host = ""
        self.overridden = False
        self.route_cache_clears = 0
        self.keep_route_cache = False  # Higress: property clear_route_cache is "off"
        self._route: Route | None = None
        self._cluster: Cluster | None = None

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.request!r} {self.response!r}"
        return f"<stream {self.context_id}: {state}>"

    @property
    def paused(self) -> bool:
        if self.closed:
            return False
        request_held = self.request.hold is not Hold.NONE and self.local_reply is None
        return request_held or self.response.hold is not Hold.NONE

    def wants_upstream(self) -> bool:
        """False once a local reply or the end of the stream makes the upstream's answer useless."""
        return not self.closed and self.local_reply is None

    # The client

    def request_headers(self, headers: Headers, end_of_stream: bool = True) -> None:
        with self.vm.entry():
            if self.vm.dead is not None:
                self.request.headers = HeaderMap(headers)
                self.fail()
            else:
                self.request.receive_headers(HeaderMap(headers).pairs(), end_of_stream)

    def request_body(self, data: bytes, end_of_stream: bool = True) -> None:
        with self.vm.entry():
            if self.wants_upstream():
                self.request.receive_data(data, end_of_stream)

    def request_trailers(self, trailers: Headers) -> None:
        with self.vm.entry():
            if self.wants_upstream():
                self.request.receive_trailers(HeaderMap(trailers).pairs())

    def abort(self) -> None:
        """The client goes away."""
        with self.vm.entry():
            self.reset("the client went away")

    # The upstream

    def response_headers(self, headers: Headers, end_of_stream: bool = True) -> None:
        with self.vm.entry():
            if self.wants_upstream():
                self.response.receive_headers(HeaderMap(headers).pairs(), end_of_stream)

    def response_body(self, data: bytes, end_of_stream: bool = True) -> None:
        with self.vm.entry():
            if self.wants_upstream():
                self.response.receive_data(data, end_of_stream)

    def response_trailers(self, trailers: Headers) -> None:
        with self.vm.entry():
            if self.wants_upstream():
                self.response.receive_trailers(HeaderMap(trailers).pairs())

    def upstream_failed(self, status: int, details: str, text: str) -> None:
        """The upstream cannot be reached or broke off: Envoy answers itself, or resets a begun response."""
        with self.vm.entry():
            if self.wants_upstream():
                self.reply(LocalReply(status, details, text.encode()))

    # What the gateway decides

    def route(self) -> Route | None:
        """Looked up once, and again after the route cache was cleared."""
        if self._route is None:
            gateway = self.vm.gateway
            if gateway.routes:
                self._route = find_route(gateway.routes, self.request.headers or HeaderMap())
            else:
                self._route = Route(gateway.route_name, gateway.cluster_name, gateway.cluster_header)
        return self._route

    def route_name(self) -> str:
        route = self.route()
        return route.name if route is not None else ""

    def cluster(self) -> Cluster | None:
        """Of the route; looked up once, and again after the route cache was cleared."""
        route = self.route()
        if self._cluster is None and route is not None:
            self._cluster = self.vm.gateway.clusters.get(route.cluster_name(self.request.headers or HeaderMap()))
        return self._cluster

    def clear_route_cache(self) -> None:
        self.route_cache_clears += 1
        self._route = None
        self._cluster = None

    def request_headers_changed(self) -> None:
        if self.vm.target == "higress" and not self.keep_route_cache:
            self.clear_route_cache()

    def reply(self, reply: LocalReply) -> None:
        """Answer in the upstream's place; a second reply is ignored, a begun response is reset."""
        if self.closed or self.local_reply is not None:
            return
        if self.downstream.headers is not None:
            self.reset(f"a local reply after the response began: {reply.details}")
            return
        in_response = self.response.headers is not None
        self.local_reply = reply
        self.request.stop()
        pairs = [(b":status", b"%d" % reply.status)]
        if reply.body:
            pairs += [(b"content-length", b"%d" % len(reply.body)), (b"content-type", b"text/plain")]
        own = {name.lower() for name, _ in reply.headers}
        pairs = [pair for pair in pairs if pair[0] not in own] + list(reply.headers)
        if in_response or self.vm.dead is not None:  # past the filters: straight to the client
            self.response.stop()
            self.response.hold = Hold.NONE
            self.downstream.headers = HeaderMap(pairs)
            self.downstream.chunks += [reply.body] if reply.body else []
            self._end(self.downstream)
            return
        self.response.receive_headers(pairs, not reply.body)
        if reply.body and not self.closed:
            self.response.receive_data(reply.body, True)

    def fail(self) -> None:
        """The VM is dead: fail closed."""
        self.reply(LocalReply(503, "wasm_fail_stream", b""))

    def reset(self, reason: str) -> None:
        if self.closed:
            return
        self.reset_reason = reason
        self.request.stop()
        self.response.stop()
        self._close()

    def proceed(self, direction: Direction) -> None:
        """A continue_stream of the guest takes effect."""
        if not self.closed and not (direction is self.request and self.local_reply is not None):
            direction.proceed()

    def inject_response_data(self, data: bytes, end: bool) -> None:
        if not self.closed and self.downstream.headers is not None:
            self.send_data(self.response, data, end)

    # direction.Owner

    def action(self, direction: Direction, export: str, *arguments: int) -> int | None:
        if self._stopped(direction):
            return None
        replied = self.local_reply
        result = self.vm.callback(export, self.context_id, *arguments)
        return None if self.closed or self.local_reply is not replied else result

    def header_action(self, result: int) -> HeaderAction:
        """Above 4: StopAllIterationAndWatermark; and so is 1, except under Higress's ABI 0_2_100."""
        stop_keeps = self.vm.guest.abi_marker == ABI_HIGRESS or self.vm.gateway.allow_on_headers_stop_iteration
        if result > HeaderAction.STOP_ALL_ITERATION_AND_WATERMARK:
            return HeaderAction.STOP_ALL_ITERATION_AND_WATERMARK
        if result == HeaderAction.STOP_ITERATION and not stop_keeps:
            return HeaderAction.STOP_ALL_ITERATION_AND_WATERMARK
        return HeaderAction(result)

    def send_headers(self, direction: Direction, end: bool) -> None:
        if self._stopped(direction):
            return
        assert direction.headers is not None
        if direction is self.request:
            if not self._choose_endpoint(direction.headers):
                return
            peer = self.upstream
        else:
            peer = self.downstream
        peer.headers = HeaderMap(direction.headers)
        self._sent(peer, end)

    def send_data(self, direction: Direction, data: bytes, end: bool) -> None:
        if self._stopped(direction):
            return
        peer = self.upstream if direction is self.request else self.downstream
        if data:
            peer.chunks.append(data)
        self._sent(peer, end)

    def send_trailers(self, direction: Direction) -> None:
        if self._stopped(direction):
            return
        peer = self.upstream if direction is self.request else self.downstream
        peer.trailers = direction.trailers
        self._sent(peer, True)

    def buffer_overflow(self, direction: Direction) -> None:
        """More is held back than the buffer limit allows: 413 for a request, 500 for a response, as Envoy answers."""
        if direction is self.request:
            self.reply(LocalReply(413, "request_payload_too_large", b"Payload Too Large"))
        else:
            self.reply(LocalReply(500, "response_payload_too_large", b"Internal Server Error"))

    # Inside

    def _stopped(self, direction: Direction) -> bool:
        return self.closed or (direction is self.request and self.local_reply is not None)

    def _choose_endpoint(self, headers: HeaderMap) -> bool:
        """On higress the override host is strict; on envoy an unknown one falls back to round robin."""
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
        self.vm.finish_stream(self)
        self.on_output()
