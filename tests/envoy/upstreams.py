"""Model servers for the tests: each names itself in its replies, records what it gets, and can hold replies open."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aiohttp import web

WAIT_TIMEOUT_S = 20.0
BODY_BYTES_MAX = 64 * 1024 * 1024
NAME_HEADER = "x-upstream"
METRICS_PATH = "/metrics"


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived; header names are lower case, in order, repeated ones repeated."""

    method: str
    path: str
    headers: Sequence[tuple[str, str]]
    body_size: int

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


@dataclass(slots=True)
class Upstream:
    """One server on a free loopback port. A held reply has sent its headers and first event, and waits for release.

    With `metrics`, METRICS_PATH is answered by it, given how often it was asked before; that is not recorded.
    """

    name: str
    changed: asyncio.Condition
    address: str = ""
    in_flight: int = 0
    received: list[Received] = field(default_factory=list)
    metrics: Callable[[int], str] | None = None
    scrapes: int = 0
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        application = web.Application(client_max_size=BODY_BYTES_MAX)
        application.router.add_route("*", "/{path:.*}", self._serve)
        # A client that goes away cancels its handler, so that in_flight falls.
        self._runner = web.AppRunner(application, handler_cancellation=True, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.address = f"{host}:{port}"
        self._open.set()

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    def hold(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self.metrics is not None and request.path == METRICS_PATH:
            self.scrapes += 1
            return web.Response(text=self.metrics(self.scrapes - 1))
        await self._count(+1)
        try:
            body = await request.read()
            headers = [(name.lower(), value) for name, value in request.headers.items()]
            self.received.append(Received(request.method, request.path, headers, len(body)))
            async with self.changed:
                self.changed.notify_all()
            response = web.StreamResponse(headers={NAME_HEADER: self.name, "content-type": "text/event-stream"})
            await response.prepare(request)
            await response.write(b'data: {"choices": []}\n\n')
            await self._open.wait()
            await response.write(b"data: [DONE]\n\n")
            await response.write_eof()
            return response
        finally:
            await self._count(-1)

    async def _count(self, step: int) -> None:
        self.in_flight += step
        async with self.changed:
            self.changed.notify_all()


class Fleet:
    """The upstreams of one cluster."""

    def __init__(self, names: Sequence[str]) -> None:
        self._changed = asyncio.Condition()
        self.upstreams = [Upstream(name, self._changed) for name in names]

    async def start(self) -> None:
        for upstream in self.upstreams:
            await upstream.start()

    async def stop(self) -> None:
        self.release()
        for upstream in self.upstreams:
            await upstream.stop()

    @property
    def addresses(self) -> list[str]:
        return [upstream.address for upstream in self.upstreams]

    @property
    def in_flight(self) -> list[int]:
        return [upstream.in_flight for upstream in self.upstreams]

    def by_name(self, name: str) -> Upstream:
        return next(upstream for upstream in self.upstreams if upstream.name == name)

    def hold(self) -> None:
        for upstream in self.upstreams:
            upstream.hold()

    def release(self) -> None:
        for upstream in self.upstreams:
            upstream.release()

    def forget(self) -> None:
        for upstream in self.upstreams:
            upstream.received.clear()

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Waits until `condition` holds; it is asked again whenever a request arrives, or ends."""
        try:
            async with asyncio.timeout(WAIT_TIMEOUT_S), self._changed:
                await self._changed.wait_for(condition)
        except TimeoutError:
            raise AssertionError(f"still not so after {WAIT_TIMEOUT_S:.0f} s; in flight: {self.in_flight}") from None
