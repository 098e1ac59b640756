"""A real HTTP/1.1 server that answers from the script of a ScriptedUpstream, trailers and broken responses included."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from inspect import isawaitable
from types import TracebackType

from ..headers import HeaderMap, to_str
from ..upstream import ScriptedRequest, ScriptedResponse, UpstreamFailed, UpstreamScript
from .http1 import LINE_SIZE_MAX, Http1Error, Message, head, read_body, read_head, write_chunked

RECEIVED_MAX = 10_000  # requests kept; the oldest go first


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it arrived. It is entered when its headers have come; the body is filled in later."""

    address: str
    message: Message

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The headers as the gateway has them: with pseudo headers."""
        method, path, _ = self.message.start.split(" ", 2)
        pairs = [(":method", method), (":path", path), (":authority", self.message.header("host") or "")]
        return pairs + [pair for pair in self.message.headers if pair[0] not in ("host", "transfer-encoding")]


class ScriptServer:
    """One server, which stands for `address` of the script; an async context manager."""

    def __init__(self, script: UpstreamScript, received: "deque[Received] | None" = None) -> None:
        self._script = script
        self.received: deque[Received] = received if received is not None else deque(maxlen=RECEIVED_MAX)
        self.address = ""
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "ScriptServer":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=LINE_SIZE_MAX)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await read_head(reader):
                self.received.append(Received(self.address, request))
                await read_body(reader, request)
                await self._answer(request, writer)
        except (Http1Error, UpstreamFailed, ConnectionError):
            pass  # the gateway gave up, or the script breaks off: the connection is closed
        finally:
            writer.close()

    async def _answer(self, request: Message, writer: asyncio.StreamWriter) -> None:
        method, path, _ = request.start.split(" ", 2)
        headers = HeaderMap(Received(self.address, request).pairs)
        answer = self._script(ScriptedRequest(self.address, method, path, headers, request.body))
        response: ScriptedResponse = await answer if isawaitable(answer) else answer
        pairs = [(to_str(name), to_str(value)) for name, value in HeaderMap(response.headers)]
        has_body = bool(response.chunks or response.trailers or response.fails_after)
        pairs.append(("transfer-encoding", "chunked") if has_body else ("content-length", "0"))
        writer.write(head(f"HTTP/1.1 {response.status} ok", pairs))
        if response.fails_after:
            writer.writelines(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in response.chunks)
            await writer.drain()
            raise UpstreamFailed(f"{self.address} broke off")
        if has_body:
            await write_chunked(writer, _each(response.chunks), list(response.trailers.items()))


async def _each(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
