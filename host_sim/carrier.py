"""Carries the bytes of one stream between the plugin's stream and the upstream, in an asyncio loop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from .headers import HeaderMap
from .stream import HttpStream
from .upstream import ResponseHeaders, ResponseTrailers, Upstream, UpstreamEvent, UpstreamFailed, UpstreamRequest


async def _let_others_run() -> None:
    """A scripted upstream never waits."""
    await asyncio.sleep(0)


class Carrier:
    """`notify` must be called, e.g. as `stream.on_output`, whenever something may have changed.

    pace: awaited after every part of the response, before the next one is asked for
    keep: leave what the upstream got in `stream.upstream`, to be looked at later; else it is dropped once it was sent
    """

    def __init__(
        self,
        stream: HttpStream,
        upstream: Upstream,
        pace: Callable[[], Awaitable[None]] = _let_others_run,
        keep: bool = True,
    ) -> None:
        self._stream = stream
        self._upstream = upstream
        self._pace = pace
        self._keep = keep
        self._sent = 0  # of the chunks in `stream.upstream`
        self._changed = asyncio.Event()

    def notify(self) -> None:
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Until `condition()` is true; it is looked at again after every `notify`."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def run(self) -> None:
        """Wait for the request's headers at the upstream's side, then carry the response back."""
        stream = self._stream
        await self.until(lambda: stream.upstream.headers is not None or not stream.wants_upstream())
        if not stream.wants_upstream() or stream.upstream.headers is None or stream.endpoint is None:
            return
        headers = stream.upstream.headers
        request = UpstreamRequest(stream.endpoint.address, headers, self._request_body(), self._body_size(headers))
        ended = False
        try:
            async with aclosing(self._upstream.exchange(request)) as events:
                async for event in events:
                    if not stream.wants_upstream():
                        return
                    ended = self._take(event)
                    await self._pace()
        except UpstreamFailed as error:
            stream.upstream_failed(503, "upstream_failed", f"upstream connect error: {error}")
            return
        if not ended:
            stream.response_body(b"", end_of_stream=True)

    def _body_size(self, headers: HeaderMap) -> int | None:
        """What is there if it is all, else what the request declares; None for chunks until the end."""
        received = self._stream.upstream
        if received.ended and received.trailers is None:
            return len(received.body)
        declared = headers.get(b"content-length")
        return int(declared) if declared is not None and declared.isdigit() else None

    def _take(self, event: UpstreamEvent) -> bool:
        """True when it was the end of the response."""
        if isinstance(event, ResponseHeaders):
            self._stream.response_headers(event.pairs, event.end_of_stream)
            return event.end_of_stream
        if isinstance(event, ResponseTrailers):
            self._stream.response_trailers(event.pairs)
            return True
        self._stream.response_body(event, end_of_stream=False)
        return False

    async def _request_body(self) -> AsyncIterator[bytes]:
        received = self._stream.upstream
        while not self._stream.closed:
            while self._sent < len(received.chunks):
                yield received.chunks[self._sent]
                if self._keep:
                    self._sent += 1
                else:
                    del received.chunks[0]
                    self.notify()
            if received.ended:
                return
            await self.until(lambda: self._sent < len(received.chunks) or received.ended or self._stream.closed)
