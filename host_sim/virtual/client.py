"""A client's request in time, and what carries it between client, plugin and upstream."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..clock import NANOSECONDS_PER_MS, Scheduler, Timer
from ..codec import Pair
from ..exchange import Exchange, observe
from ..headers import HeaderMap, Headers, to_bytes
from ..stream import HttpStream
from .upstream import Playback, TimedRequest, TimedUpstream, UpstreamFault

AUTHORITY = "llm.example"

Leave: TypeAlias = Literal["paused", "response"]


@dataclass(frozen=True, slots=True)
class Client:
    """What a client sends, and when it goes away.

    body: chunks, and delays in ms as floats; the last chunk ends the request
    gives_up_ms: goes away when it has no whole response this long after its start
    leaves: goes away as soon as the plugin holds the request ("paused"), or at the first part of the "response"
    """

    method: str = "GET"
    path: str = "/"
    headers: Headers = ()
    body: Sequence[bytes | float] = ()
    trailers: Headers = ()
    gives_up_ms: float | None = None
    leaves: Leave | None = None

    def request_pairs(self) -> list[Pair]:
        given = HeaderMap(self.headers)
        pairs = [(b":method", self.method.encode()), (b":path", to_bytes(self.path)), (b":scheme", b"http")]
        pairs += [] if b":authority" in given else [(b":authority", AUTHORITY.encode())]
        return pairs + given.pairs()

    def chunks(self) -> deque[tuple[float, bytes]]:
        """(ms to wait before it, chunk); a delay at the end is before an empty chunk."""
        chunks: deque[tuple[float, bytes]] = deque()
        wait_ms = 0.0
        for item in self.body:
            if isinstance(item, bytes):
                chunks.append((wait_ms, item))
                wait_ms = 0.0
            else:
                wait_ms += item
        if wait_ms:
            chunks.append((wait_ms, b""))
        return chunks


class Request:
    """A request that was sent. `on_end` is called once, with this, when its stream is closed."""

    def __init__(
        self,
        stream: HttpStream,
        client: Client,
        scheduler: Scheduler,
        upstream: TimedUpstream,
        route_timeout_ms: float,
        on_end: "Callable[[Request], None]",
    ) -> None:
        self.stream = stream
        self.client = client
        self.client_left = False
        self.failure: UpstreamFault | None = None  # of the upstream, if it failed
        self._scheduler = scheduler
        self._start_ns = scheduler.monotonic_ns()
        self._sent_ns: int | None = None
        self._uploaded_ns: int | None = None
        self._upstream = upstream
        self._route_timeout_ms = route_timeout_ms
        self._on_end = on_end
        self._playback: Playback | None = None
        self._timers: list[Timer] = []
        self._chunks = client.chunks()
        self._trailers_sent = False
        self._request_ended = False  # at the upstream
        self._ended = False
        stream.on_output = self._on_output

    def __repr__(self) -> str:
        return f"<request {self.stream!r}{' of a client that left' if self.client_left else ''}>"

    @property
    def held_ms(self) -> float | None:
        """From the start to the upstream; None if it did not get there."""
        return None if self._sent_ns is None else (self._sent_ns - self._start_ns) / NANOSECONDS_PER_MS

    @property
    def upload_ms(self) -> float | None:
        """From the start to the last part of the request; None if the client did not send all of it."""
        return None if self._uploaded_ns is None else (self._uploaded_ns - self._start_ns) / NANOSECONDS_PER_MS

    @property
    def ended(self) -> bool:
        return self._ended

    def exchange(self) -> Exchange:
        return observe(self.stream)

    def start(self) -> None:
        if self.client.gives_up_ms is not None:
            self._timers.append(self._scheduler.call_later(self.client.gives_up_ms, self.leave))
        self.stream.request_headers(self.client.request_pairs(), not self._chunks and not self.client.trailers)
        self._sent()

    def leave(self) -> None:
        """The client goes away."""
        if not self._ended:
            self.client_left = True
            self.stream.abort()

    # The request

    def _send_chunk(self) -> None:
        if not self.stream.closed:
            _, chunk = self._chunks.popleft()
            self.stream.request_body(chunk, not self._chunks and not self.client.trailers)
            self._sent()

    def _sent(self) -> None:
        """A part was sent; what comes next?"""
        if self.client.leaves == "paused" and self.stream.paused:
            self.leave()
        elif self._chunks:
            self._timers.append(self._scheduler.call_later(self._chunks[0][0], self._send_chunk))
        elif self.client.trailers and not self._trailers_sent and not self.stream.closed:
            self._trailers_sent = True
            self.stream.request_trailers(self.client.trailers)
            self._sent()
        elif self._uploaded_ns is None and not self.stream.closed:
            self._uploaded_ns = self._scheduler.monotonic_ns()

    # What goes on at the other side

    def _on_output(self) -> None:
        stream = self.stream
        if stream.closed:
            self._end()
            return
        if self._playback is None:
            if stream.upstream.headers is not None and stream.local_reply is None:
                self._connect()
        elif stream.upstream.ended and not self._request_ended:
            self._request_ended = True
            self._playback.request_ended()
            self._expect_response()

    def _connect(self) -> None:
        stream = self.stream
        assert stream.upstream.headers is not None
        assert stream.endpoint is not None
        asked = TimedRequest(stream.endpoint.address, stream.upstream.headers, lambda: stream.upstream.body)
        self._sent_ns = self._scheduler.monotonic_ns()
        self._request_ended = stream.upstream.ended
        self._playback = Playback(self._scheduler, self._upstream(asked), self, self._request_ended)
        if self._request_ended:
            self._expect_response()

    def _expect_response(self) -> None:
        if self._route_timeout_ms:
            self._timers.append(self._scheduler.call_later(self._route_timeout_ms, self._route_timed_out))

    def _route_timed_out(self) -> None:
        self.stream.upstream_failed(504, "response_timeout", "upstream request timeout")

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._playback is not None:
            self._playback.cancel()
        self._on_end(self)

    # upstream.ResponseSink

    def is_open(self) -> bool:
        return self.stream.wants_upstream()

    def response_headers(self, pairs: list[Pair], end_of_stream: bool) -> None:
        self.stream.response_headers(pairs, end_of_stream)
        self._leave_at_response()

    def response_body(self, data: bytes, end_of_stream: bool) -> None:
        self.stream.response_body(data, end_of_stream)
        self._leave_at_response()

    def response_trailers(self, pairs: list[Pair]) -> None:
        self.stream.response_trailers(pairs)

    def response_failed(self, fault: UpstreamFault) -> None:
        self.failure = fault
        self.stream.upstream_failed(503, "upstream_failed", f"upstream connect error: {fault.value}")

    def _leave_at_response(self) -> None:
        if self.client.leaves == "response" and self.stream.downstream.headers is not None:
            self.leave()
