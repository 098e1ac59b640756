"""A TCP connection and the plugins that it passes.

What the client sends passes the plugins in their order, what the upstream sends in the reverse one. The peers' bytes
come in through `downstream_data`, `upstream_data` and `close_*`; what the peers get is in `to_upstream` and
`to_downstream`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from proxywasm.enums import PeerType

from .cluster import Endpoint
from .contexts import RootContext
from .dispatcher import Dispatcher
from .errors import UsageError
from .gateway import Gateway
from .records import Trace
from .tcp_filter import TcpFilter


@dataclass(slots=True)
class TcpReceived:
    """What one peer of the connection has got so far."""

    chunks: list[bytes] = field(default_factory=list)
    ended: bool = False

    @property
    def data(self) -> bytes:
        return b"".join(self.chunks)


class TcpConnection:
    """Accepted when it is made. `endpoint` is known when all plugins have let it pass."""

    def __init__(self, gateway: Gateway, chain: Sequence[RootContext]) -> None:
        self.gateway = gateway
        self.vm = chain[0].vm
        self.trace = Trace()
        self.properties: dict[bytes, bytes] = {}
        self.filters = [TcpFilter(self, root, position) for position, root in enumerate(chain)]
        self.to_upstream = TcpReceived()
        self.to_downstream = TcpReceived()
        self.on_output: Callable[[], None] = lambda: None
        self.endpoint: Endpoint | None = None
        self.closed = False
        self.close_reason = ""
        with self._event():
            self._accept(0)

    def __repr__(self) -> str:
        state = "closed" if self.closed else " ".join(repr(item) for item in self.filters)
        return f"<connection {self.context_id}: {state}>"

    @property
    def context_id(self) -> int:
        return self.filters[0].context_id

    # The client

    def downstream_data(self, data: bytes, end_of_stream: bool = False) -> None:
        """`end_of_stream`: the client has closed its side."""
        self._check(self.filters[0].downstream_ended)
        with self._event():
            self._to_upstream(0, data, end_of_stream)

    def close_downstream(self, peer: PeerType = PeerType.REMOTE) -> None:
        """The connection to the client is closed, by the client (REMOTE) or by the gateway (LOCAL)."""
        with self._event():
            self._end(peer, "closed by the client" if peer is PeerType.REMOTE else "closed by the gateway")

    # The upstream

    def upstream_data(self, data: bytes, end_of_stream: bool = False) -> None:
        """`end_of_stream`: the upstream has closed its side."""
        self._check(self.filters[-1].upstream_ended)
        with self._event():
            self._to_downstream(len(self.filters) - 1, data, end_of_stream)

    # What plugins do

    def proceed(self, item: TcpFilter) -> None:
        """What the plugin held of the client's data goes on, and the connection with it."""
        if not self.closed:
            following = item.position + 1
            self._accept(following)
            self._pass_downstream_data(item, following)

    def close(self, reason: str) -> None:
        """The gateway closes the connection to the client."""
        self._end(PeerType.LOCAL, reason)

    # Inside

    def _event(self) -> Dispatcher:
        return self.gateway.dispatcher

    def _check(self, ended: bool) -> None:
        if ended or self.closed:
            raise UsageError("data after the end of the connection")

    def _accept(self, position: int) -> None:
        """Tell the plugins from `position` on that have not heard of it."""
        for item in self.filters[position:]:
            if self.closed or (not item.created and not item.new_connection()):
                return
        if self.endpoint is None and not self.closed:
            cluster = self.gateway.clusters.get(self.gateway.cluster_name)
            self.endpoint = cluster.next_endpoint() if cluster is not None else None
            if self.endpoint is None:
                self.close("no healthy upstream")

    def _to_upstream(self, position: int, data: bytes, end: bool) -> None:
        for item in self.filters[position:]:
            if self.closed or (not item.created and not item.new_connection()):
                item.from_downstream.append(data)
                item.downstream_ended = end
                return
            if not item.downstream_data(data, end):
                return
            data = item.from_downstream.take()
        self._accept(len(self.filters))
        self._deliver(self.to_upstream, data, end)

    def _pass_downstream_data(self, item: TcpFilter, following: int) -> None:
        data = item.from_downstream.take()
        if data or item.downstream_ended:
            self._to_upstream(following, data, item.downstream_ended)

    def _to_downstream(self, position: int, data: bytes, end: bool) -> None:
        for item in reversed(self.filters[: position + 1]):
            if self.closed or not item.upstream_data(data, end):
                return
            data = item.from_upstream.take()
        self._deliver(self.to_downstream, data, end)
        if end:
            self.close("closed by the upstream")

    def _deliver(self, peer: TcpReceived, data: bytes, end: bool) -> None:
        if not self.closed:
            peer.chunks += [data] if data else []
            peer.ended = end
            self.on_output()

    def _end(self, peer: PeerType, reason: str) -> None:
        if self.closed:
            return
        self.closed = True
        self.close_reason = reason
        for item in self.filters:
            item.downstream_closed(peer)
        self.on_output()
