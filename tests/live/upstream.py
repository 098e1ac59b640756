"""A real HTTP server whose replies the test steers while they are on the way."""

import asyncio
from types import TracebackType

from aiohttp import web

HOST = "127.0.0.1"


class Upstream:
    """/stream replies with what `send` puts in until None; /break breaks off; /echo replies with the request's body."""

    def __init__(self) -> None:
        self.address = ""
        self.health = 200
        self.health_text = "up 1\n"
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.requests: asyncio.Queue[web.Request] = asyncio.Queue()
        self.client_gone = asyncio.Event()
        self.reading = asyncio.Event()
        self.sent = 0  # bytes of /endless that the gateway took
        self._replies: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "Upstream":
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/health", self._health)
        app.router.add_route("*", "/{path:.*}", self._serve)
        app.on_response_prepare.append(_without_content_type)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, auto_decompress=False, shutdown_timeout=0.1
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()
        self.address = f"{HOST}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def send(self, *chunks: bytes | None) -> None:
        for chunk in chunks:
            self._replies.put_nowait(chunk)

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(status=self.health, text=self.health_text)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.put_nowait(request)
        try:
            return await self._reply(request)
        except asyncio.CancelledError:
            self.client_gone.set()
            raise

    async def _reply(self, request: web.Request) -> web.StreamResponse:
        name = request.path.rpartition("/")[2]
        if name == "stream":
            return await self._stream(request)
        if name == "endless":
            return await self._endless(request)
        if name == "upload":
            await self.reading.wait()
            size = 0
            async for chunk in request.content.iter_any():
                size += len(chunk)
            return web.Response(text=str(size))
        if name == "received":
            async for chunk in request.content.iter_any():
                self.received.put_nowait(chunk)
            return web.Response(text="all")
        if name == "break":
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"begun")
            assert request.transport is not None
            request.transport.close()
            return response
        if name == "empty":
            return web.Response(status=204)
        if name == "bad-status":
            return web.Response(headers={"x-bad-status": "1"})
        body = await request.read()
        response = web.StreamResponse(
            status=201, headers={"X-Upstream": self.address, "Content-Length": str(len(body))}
        )
        response.headers.add("Set-Cookie", "a=1")
        response.headers.add("Set-Cookie", "b=2")
        await response.prepare(request)
        if request.method != "HEAD":
            await response.write(body)
        return response

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while (chunk := await self._replies.get()) is not None:
            await response.write(chunk)
        return response

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(64 * 1024))
            self.sent += 64 * 1024


async def _without_content_type(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.pop("Content-Type", None)
