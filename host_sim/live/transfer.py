"""One request of a real client: its bytes to the plugin's stream, the stream's bytes back, as they come.

Backpressure, in both directions: no more is read from a peer while the other one is to take `UNSENT_SIZE_MAX` bytes
first. A body that the plugin collects is no backlog: Envoy's buffer limit holds for it, with 413 or 500 beyond.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import ClientError, web
from multidict import CIMultiDict

from ..carrier import Carrier
from ..codec import Pair
from ..direction import Hold
from ..headers import HeaderMap, to_bytes, to_str
from ..stream import Received
from ..upstream import Upstream
from .observations import EndpointCounters, Observations, decide, response_status
from .render import cut
from .worker import Worker

UNSENT_SIZE_MAX = 256 * 1024
HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection transfer-encoding te upgrade expect proxy-authenticate trailer".split()
)


class Response(web.StreamResponse):
    """`sent_names` are those of the headers that the upstream or the plugin gave, in lower case."""

    sent_names: frozenset[str] = frozenset()


class Transfer:
    def __init__(
        self,
        request: web.BaseRequest,
        worker: Worker,
        upstream: Upstream,
        observations: Observations,
        on_error: Callable[[Exception], None],
    ) -> None:
        self._request = request
        self._worker = worker
        self._observations = observations
        self._on_error = on_error
        self._began_s = time.monotonic()
        self._stream = worker.open_stream()
        self._record = observations.begin(request.method, request.raw_path, worker.number)
        self._carrier = Carrier(self._stream, upstream, pace=self._response_room, keep=False)
        self._stream.on_output = self._on_output
        self._counters: EndpointCounters | None = None

    async def run(self) -> web.StreamResponse:
        """Cancelled when the client goes away."""
        tasks = [asyncio.create_task(self._guarded(part)) for part in (self._carrier.run, self._read)]
        try:
            return await self._write()
        finally:
            try:
                self._stream.abort()  # does nothing after a complete response
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            finally:
                self._end()

    def _on_output(self) -> None:
        stream = self._stream
        if self._counters is None and stream.upstream.headers is not None and stream.endpoint is not None:
            cluster = stream.cluster()
            self._counters = self._observations.counters(cluster.name if cluster else "", stream.endpoint.address)
            self._counters.requests += 1
            self._counters.in_flight += 1
            self._counters.in_flight_max = max(self._counters.in_flight_max, self._counters.in_flight)
            decide(self._record, stream)
            self._observations.changed()
        self._carrier.notify()

    def _end(self) -> None:
        self._worker.release(self._stream)
        self._observations.end(self._record, self._stream, self._since_ms())
        if self._counters is not None:
            stream = self._stream
            broke = stream.local_reply is not None and stream.local_reply.details == "upstream_failed"
            broke = broke or "upstream_failed" in stream.reset_reason
            self._counters.in_flight -= 1
            self._counters.errors += broke or self._record.status >= 500

    def _since_ms(self) -> float:
        return (time.monotonic() - self._began_s) * 1000

    async def _guarded(self, part: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """An error of the host or in a host function ends the stream and is told; the gateway lives on."""
        try:
            await part()
        except Exception as error:
            self._on_error(error)
            try:
                self._stream.upstream_failed(500, "host_error", "")
            finally:
                self._stream.abort()

    # From the client

    async def _read(self) -> None:
        stream, content = self._stream, self._request.content
        has_body = self._request.body_exists
        pairs = request_headers(self._request)
        self._record.request_id = cut(to_str(dict(pairs)[b"x-request-id"]))
        stream.request_headers(pairs, end_of_stream=not has_body)
        decide(self._record, stream)
        self._observations.changed()
        try:
            while has_body and stream.wants_upstream():
                chunk = await content.readany()
                ended = content.at_eof()
                if chunk or ended:
                    stream.request_body(chunk, end_of_stream=ended)
                if ended:
                    return
                await self._carrier.until(self._has_request_room)
        except (ClientError, ConnectionError, web.RequestPayloadError):
            stream.abort()

    def _has_request_room(self) -> bool:
        stream = self._stream
        held_for_good = stream.request.hold is Hold.ALL and stream.request.held_size >= UNSENT_SIZE_MAX
        return not stream.wants_upstream() or not (held_for_good or _is_full(stream.upstream))

    # To the client

    async def _response_room(self) -> None:
        await self._carrier.until(lambda: self._stream.closed or not _is_full(self._stream.downstream))

    async def _write(self) -> web.StreamResponse:
        stream, received = self._stream, self._stream.downstream
        await self._carrier.until(lambda: received.headers is not None or stream.closed)
        if received.headers is None:
            return self._broken_off(web.Response(status=500))
        headers = response_headers(received.headers)
        response = Response(status=response_status(received.headers), headers=headers)
        if received.ended and not received.chunks and self._request.method != "HEAD":
            headers.setdefault("content-length", "0")
        response.sent_names = frozenset(map(str.lower, headers))
        self._record.first_byte_ms = self._since_ms()
        decide(self._record, stream)
        self._observations.changed()
        await response.prepare(self._request)
        has_body = self._request.method != "HEAD" and response.status not in (204, 304)
        while True:
            chunks = received.chunks[:]
            del received.chunks[:]
            self._carrier.notify()
            for chunk in chunks if has_body else ():
                await response.write(chunk)
                self._record.response_size += len(chunk)
            if received.chunks:
                continue
            if received.ended:
                await response.write_eof()
                return response
            if stream.closed:
                return self._broken_off(response)
            await self._carrier.until(lambda: bool(received.chunks) or received.ended or stream.closed)

    def _broken_off(self, response: web.StreamResponse) -> web.StreamResponse:
        """The stream was reset: the client sees the connection close before the response's end."""
        if self._request.transport is not None:
            self._request.transport.abort()
        return response


def _is_full(received: Received) -> bool:
    return sum(map(len, received.chunks)) >= UNSENT_SIZE_MAX


def request_headers(request: web.BaseRequest) -> list[Pair]:
    """As Envoy gives them to a filter; x-request-id and x-forwarded-proto are added where they are missing."""
    given = [(name.lower(), value) for name, value in request.raw_headers]
    dropped = {b"host", *HOP_BY_HOP}
    for name, value in given:
        if name == b"connection":
            dropped.update(token.strip().lower() for token in value.split(b","))
    path = request.raw_path
    if not path.startswith(("/", "*")):  # an absolute URL, as clients of a proxy send it
        path = request.rel_url.raw_path_qs
    pairs = [
        (b":authority", to_bytes(request.host)),
        (b":path", to_bytes(path)),
        (b":method", to_bytes(request.method)),
        (b":scheme", b"http"),
        *(pair for pair in given if pair[0] not in dropped and not pair[0].startswith(b":")),
    ]
    names = {name for name, _ in pairs}
    added = ((b"x-forwarded-proto", b"http"), (b"x-request-id", str(uuid.uuid4()).encode()))
    return pairs + [pair for pair in added if pair[0] not in names]


def response_headers(headers: HeaderMap) -> "CIMultiDict[str]":
    return CIMultiDict(
        (name.decode("utf-8", "replace"), value.decode("utf-8", "replace"))
        for name, value in headers
        if not name.startswith(b":") and name not in HOP_BY_HOP
    )
