"""The live gateway: listeners, the worker that runs now, and the change from one configuration to the next."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType

import aiohttp
from aiohttp import web

from ..embedded_redis import EmbeddedRedis
from ..errors import SimulatorError
from ..guest import GuestFactory
from ..redis_backend import RedisBackend
from ..setup import guest_factory, redis_backend
from ..shared import Shared
from ..upstream import HttpUpstream
from .admin import admin_app
from .config import EMBEDDED, Address, GatewayConfig
from .config_section import ConfigError
from .observations import Observations
from .transfer import Response, Transfer
from .worker import Worker, start_worker

STREAMS_MAX = 1024  # at a time; Envoy's default of a circuit breaker's max_requests
HEADERS_SIZE_MAX = 60 * 1024  # Envoy's default of max_request_headers_kb
ADMIN_STOP_TIMEOUT_S = 0.1  # open pages are cut off then

_logger = logging.getLogger(__name__)


class LiveGateway:
    """An async context manager. On entry the plugin is started, the endpoints are checked and the ports are open.

    `say` is told what is logged and what happens to the gateway.
    LoadError if the plugin does not start, ServerError if an embedded Redis does not, OSError if a port is taken.
    """

    def __init__(self, config: GatewayConfig, say: Callable[[str], None] = lambda text: None) -> None:
        self.config = config
        self.observations = Observations(say)
        self.shared = Shared()
        self.address: Address | None = None  # where it listens, once entered
        self.admin_address: Address | None = None
        self._upstream = HttpUpstream()
        self._session: aiohttp.ClientSession | None = None
        self._worker: Worker | None = None
        self._retiring: dict[asyncio.Task[None], Worker] = {}
        self._runners: list[web.AppRunner] = []
        self._embedded: dict[str, EmbeddedRedis] = {}
        self._factory: tuple[object, GuestFactory] | None = None
        self._reloading = asyncio.Lock()

    @property
    def worker(self) -> Worker:
        assert self._worker is not None, "the gateway is not started: use it with `async with`"
        return self._worker

    @property
    def retiring(self) -> int:
        """Workers of earlier configurations whose streams have not ended."""
        return len(self._retiring)

    async def __aenter__(self) -> "LiveGateway":
        try:
            self._session = aiohttp.ClientSession()
            self._worker = await self._start_worker(1, self.config)
            self.address = await self._listen(_proxy_app(self._serve), self.config.listen, self._drain_timeout_s)
            if self.config.admin is not None:
                self.admin_address = await self._listen(admin_app(self), self.config.admin, ADMIN_STOP_TIMEOUT_S)
        except BaseException:
            await self._stop()
            raise
        self.observations.note("started", ok=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def reload(self, config: GatewayConfig) -> None:
        """Run `config` from now on; what is in flight ends on what it began with.

        If it cannot be started, an error tells why and nothing changes.
        """
        async with self._reloading:
            if (config.listen, config.admin) != (self.config.listen, self.config.admin):
                raise ConfigError(["listen and admin cannot be changed while the gateway runs: start it anew"])
            old = self.worker
            self._worker = await self._start_worker(old.number + 1, config)
            self.config = config
            self.observations.forget_endpoints(self.worker.clusters)
            self.observations.note(f"configuration {self.worker.number} is in use", ok=True)
            self._retire(old)

    def _retire(self, worker: Worker) -> None:
        task = asyncio.create_task(worker.retire())
        self._retiring[task] = worker
        task.add_done_callback(self._retired)

    def _retired(self, task: "asyncio.Task[None]") -> None:
        del self._retiring[task]
        if not task.cancelled() and task.exception() is not None:
            self._note_error(task.exception())

    async def _start_worker(self, number: int, config: GatewayConfig) -> Worker:
        assert self._session is not None
        factory = await self._guest_factory(config)
        return await start_worker(
            number,
            config,
            factory,
            {name: self._redis(name, url) for name, url in config.redis.items()},
            self.shared,
            self._upstream,
            self._session,
            self.observations,
            self._note_error,
        )

    async def _guest_factory(self, config: GatewayConfig) -> GuestFactory:
        """Compiling takes seconds, so not in the loop's thread; and not again while the file is the same."""
        source = config.plugin.source
        if isinstance(source, str):
            return guest_factory(source)
        try:
            wasm = await asyncio.to_thread(source.read_bytes)
        except OSError as error:
            raise SimulatorError(f"{source} cannot be read: {error.strerror}") from error
        if self._factory is None or self._factory[0] != wasm:
            self._factory = wasm, await asyncio.to_thread(guest_factory, wasm)
        return self._factory[1]

    def _redis(self, name: str, url: str | None) -> RedisBackend | None:
        if url != EMBEDDED:
            return redis_backend(url)
        if name not in self._embedded:
            server = EmbeddedRedis()
            server.start()
            self._embedded[name] = server
            self.observations.note(f"Redis {name}: {server}", ok=True)
        return redis_backend(self._embedded[name].url)

    @property
    def _drain_timeout_s(self) -> float:
        return self.config.drain_timeout_ms / 1000

    async def _listen(self, app: web.Application, address: Address, stop_timeout_s: float) -> Address:
        runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            auto_decompress=False,
            shutdown_timeout=stop_timeout_s,
            max_line_size=HEADERS_SIZE_MAX,
            max_field_size=HEADERS_SIZE_MAX,
        )
        self._runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, address.host, address.port).start()
        return Address(*runner.addresses[0][:2])

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        worker = self.worker
        if len(worker.streams) >= STREAMS_MAX:
            return web.Response(status=503, text="overflow")
        try:
            transfer = Transfer(request, worker, self._upstream, self.observations, self._note_error)
        except Exception as error:
            self._note_error(error)
            return web.Response(status=500)
        return await transfer.run()

    def _note_error(self, error: BaseException | None) -> None:
        """An error of the host, not of the plugin or of a peer."""
        _logger.error("error of the host", exc_info=error)
        self.observations.note(f"error of the host: {error!r}", ok=False)

    async def _stop(self) -> None:
        """Take no new connections, let the streams end in the configured time, end the plugin."""
        for runner in self._runners:
            await runner.cleanup()
        if self._worker is not None:
            self._retire(self._worker)
        for worker in self._retiring.values():
            worker.abort_streams()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        await self._upstream.close()
        if self._session is not None:
            await self._session.close()
        for server in self._embedded.values():
            server.stop()


def _proxy_app(serve: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    """Every method and path goes to `serve`."""

    @web.middleware
    async def everything(request: web.Request, handler: object) -> web.StreamResponse:
        return await serve(request)

    async def own_headers_only(request: web.Request, response: web.StreamResponse) -> None:
        """aiohttp adds what the upstream did not send."""
        sent = response.sent_names if isinstance(response, Response) else ()
        for name in ("content-type", "server"):
            if name not in sent:
                response.headers.pop(name, None)

    app = web.Application(middlewares=[everything])
    app.on_response_prepare.append(own_headers_only)
    return app
