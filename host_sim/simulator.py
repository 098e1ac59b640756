"""The simulator in real time: one gateway with one worker, real upstreams and a real Redis if they are given.

Scripted peers go in the same places: `upstream=ScriptedUpstream(...)`, `redis={"name": ScriptedRedis(...)}`.
"""

import asyncio
import random
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from .abi import Target
from .callouts import HttpCall, HttpResponse
from .clock import LoopScheduler
from .errors import LeftoverError, SimulatorError
from .exchange import Exchange, observe
from .gateway import Gateway, Plugin
from .headers import HeaderMap, Headers, to_bytes
from .redis_backend import RedisBackend, TcpRedis
from .setup import Clusters, GuestSource, configuration_bytes, finish_vm, guest_factory, make_clusters
from .stream import HttpStream
from .upstream import (
    ResponseHeaders,
    ResponseTrailers,
    ScriptedUpstream,
    Upstream,
    UpstreamFailed,
    UpstreamRequest,
)
from .vm import Vm

REQUEST_TIMEOUT_S = 60.0
SETTLE_TIMEOUT_S = 10.0
CALLOUT_BODY_SIZE_MAX = 64 * 1024 * 1024
AUTHORITY = "llm.example"

Abort: TypeAlias = Literal["paused", "response"]
Body: TypeAlias = bytes | str | Iterable[bytes] | AsyncIterable[bytes]


class Simulator:
    """An async context manager; on entry the plugin is started (LoadError if that fails).

    guest: path of a .wasm, "module:Class" for the native guest, or a guest factory
    plugin_config: a JSON-able mapping, or text as it is
    clusters: name to endpoints; requests go to `cluster_name`, by default the first
    redis: cluster name to "redis://host:port", a backend, or None for a cluster without a host
    upstream: HttpUpstream() for real servers; by default a script whose body names the endpoint
    seed: of the guest's randomness, and in `sim.seed` if it is chosen here
    fuel: count instructions (wasm guest only)
    gateway_options: further fields of Gateway: route_name, cluster_header, log_level, foreign_functions, ...
    """

    def __init__(
        self,
        guest: GuestSource,
        target: Target = "higress",
        plugin_config: Mapping[str, Any] | str | bytes = b"",
        clusters: Clusters | None = None,
        redis: Mapping[str, RedisBackend | str | None] | None = None,
        upstream: Upstream | None = None,
        seed: int | None = None,
        fuel: bool = False,
        **gateway_options: Any,
    ) -> None:
        self.target: Target = target
        self.seed = secrets.randbits(64) if seed is None else seed
        self.clusters = make_clusters(clusters or {})
        self.upstream: Upstream = upstream if upstream is not None else ScriptedUpstream()
        self._redis = {name: _backend(backend) for name, backend in (redis or {}).items()}
        self._plugin = Plugin(configuration_bytes(plugin_config))
        self._factory = guest_factory(guest, fuel)
        self._gateway_options = {"cluster_name": next(iter(self.clusters), ""), **gateway_options}
        self._tasks: set[asyncio.Task[None]] = set()
        self._vm: Vm | None = None
        self._rides: set[_Ride] = set()
        self._error: Exception | None = None  # what broke in a delivery; every request and `finish` tell it

    @property
    def vm(self) -> Vm:
        if self._vm is None:
            raise SimulatorError("the simulator is not started: use it with `async with`")
        return self._vm

    @property
    def gateway(self) -> Gateway:
        return self.vm.gateway

    async def __aenter__(self) -> "Simulator":
        gateway = Gateway(
            clusters=self.clusters,
            redis=self._redis,
            callouts=self,
            scheduler=LoopScheduler(),
            random_bytes=random.Random(self.seed).randbytes,
            on_error=self._note_error,
            **self._gateway_options,
        )
        vm = Vm(self._factory, self.target, self._plugin, gateway)
        try:
            vm.start()
        except BaseException:
            vm.close()
            raise
        self._vm = vm
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.vm.close()
        await self.upstream.close()

    async def request(
        self,
        method: str = "GET",
        path: str = "/",
        headers: Headers = (),
        body: Body = b"",
        *,
        trailers: Headers = (),
        abort: Abort | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> Exchange:
        """Play one request to its end.

        `body`: whole, or an iterable of chunks. `abort`: the client goes away as soon as the request is "paused" by the
        plugin, or when the first part of the "response" has come. SimulatorError if it does not end in `timeout_s`.
        """
        given = HeaderMap(headers)
        pairs = [(b":method", method.encode()), (b":path", to_bytes(path)), (b":scheme", b"http")]
        pairs += [] if b":authority" in given else [(b":authority", AUTHORITY.encode())]
        stream = self.vm.open_stream()
        ride = _Ride(self, stream, abort)
        self._rides.add(ride)
        try:
            async with asyncio.timeout(timeout_s):
                await ride.run(pairs + given.pairs(), body, HeaderMap(trailers))
        except TimeoutError:
            seen = f"{stream!r}\n{observe(stream)}"
            raise SimulatorError(f"the request did not end within {timeout_s} s: {seen}") from None
        finally:
            self._rides.discard(ride)
            stream.abort()
        return observe(stream)

    def raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _note_error(self, error: Exception) -> None:
        self._error = self._error or error
        for ride in self._rides:
            ride.wake()

    async def settle(self, timeout_s: float = SETTLE_TIMEOUT_S) -> None:
        """Wait until no callout of the plugin is pending; LeftoverError after `timeout_s`."""
        ended = asyncio.Event()
        self.vm.on_call_end = ended.set
        try:
            async with asyncio.timeout(timeout_s):
                while self.vm.pending_calls:
                    self.raise_error()
                    ended.clear()
                    await ended.wait()
        except TimeoutError:
            raise LeftoverError(f"{self.vm.pending_calls} calls are still pending after {timeout_s} s") from None

    async def finish(self) -> None:
        """Wait for pending calls and end the plugin; LeftoverError if anything is open, paused or not deleted."""
        await self.settle()
        self.raise_error()
        finish_vm(self.vm)

    # callouts.HttpCallouts

    def start(self, call: HttpCall) -> None:
        task = asyncio.get_running_loop().create_task(self._callout(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _callout(self, call: HttpCall) -> None:
        headers = HeaderMap(call.headers)
        cluster = self.clusters[call.cluster]
        named = cluster.named_by(headers) if self.target == "envoy" else None
        endpoint = named or cluster.next_endpoint()
        if endpoint is None:
            call.done(None)
            return
        parts = iter([call.body] if call.body else [])
        request = UpstreamRequest(endpoint.address, headers, _async(parts), len(call.body))
        response: HttpResponse | None = None
        body = bytearray()
        try:
            async for event in self.upstream.exchange(request):
                if isinstance(event, ResponseHeaders):
                    response = HttpResponse(event.pairs)
                elif isinstance(event, bytes):
                    body += event
                    if len(body) > CALLOUT_BODY_SIZE_MAX:
                        raise UpstreamFailed(f"a response above {CALLOUT_BODY_SIZE_MAX} bytes")
                elif response is not None:
                    response = HttpResponse(response.headers, trailers=event.pairs)
        except UpstreamFailed:
            response = None
        except Exception as error:
            response = None
            self._note_error(error)
        if response is not None:
            response = HttpResponse(response.headers, bytes(body), response.trailers)
        call.done(response)


class _Ride:
    """Carries the bytes of one stream between the client, the plugin's stream and the upstream."""

    def __init__(self, simulator: Simulator, stream: HttpStream, abort: Abort | None) -> None:
        self._simulator = simulator
        self._upstream = simulator.upstream
        self._stream = stream
        self._abort = abort
        self._changed = asyncio.Event()
        stream.on_output = self._on_output

    async def run(self, pairs: list[tuple[bytes, bytes]], body: Body, trailers: HeaderMap) -> None:
        carrying = asyncio.get_running_loop().create_task(self._carry())
        try:
            await self._send(pairs, body, trailers)
            while not self._stream.closed:
                self._simulator.raise_error()
                if carrying.done():
                    await carrying  # an error of ours comes out here
                self._changed.clear()
                await self._wait_or(carrying)
        finally:
            carrying.cancel()
            await asyncio.gather(carrying, return_exceptions=True)

    def wake(self) -> None:
        self._changed.set()

    def _on_output(self) -> None:
        if self._abort == "response" and self._stream.downstream.headers is not None and not self._stream.closed:
            self._stream.vm.deliver(self._stream.abort)
        self._changed.set()

    async def _wait_or(self, carrying: "asyncio.Task[None]") -> None:
        """Until something changed, or the upstream's part broke."""
        waiting = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait([waiting] if carrying.done() else [waiting, carrying], return_when="FIRST_COMPLETED")
        finally:
            waiting.cancel()

    async def _send(self, pairs: list[tuple[bytes, bytes]], body: Body, trailers: HeaderMap) -> None:
        stream = self._stream
        whole = body.encode() if isinstance(body, str) else body
        chunks: AsyncIterator[bytes] = _async([whole] if whole else []) if isinstance(whole, bytes) else _async(whole)
        chunk = await anext(chunks, None)
        stream.request_headers(pairs, end_of_stream=chunk is None and not len(trailers))
        self._abort_if_paused()
        while chunk is not None and not stream.closed:
            following = await anext(chunks, None)
            stream.request_body(chunk, end_of_stream=following is None and not len(trailers))
            self._abort_if_paused()
            chunk = following
        if len(trailers) and not stream.closed:
            stream.request_trailers(trailers)
            self._abort_if_paused()

    def _abort_if_paused(self) -> None:
        if self._abort == "paused" and self._stream.paused:
            self._stream.abort()

    async def _carry(self) -> None:
        """Wait for the request's headers at the upstream's side, then carry the response back."""
        stream = self._stream
        await self._more(lambda: stream.upstream.headers is not None)
        if not stream.wants_upstream() or stream.upstream.headers is None or stream.endpoint is None:
            return
        size = len(stream.upstream.body) if stream.upstream.ended and stream.upstream.trailers is None else None
        request = UpstreamRequest(stream.endpoint.address, stream.upstream.headers, self._request_body(), size)
        ended = False
        try:
            async for event in self._upstream.exchange(request):
                if not stream.wants_upstream():
                    return
                ended = self._take(event)
                await asyncio.sleep(0)  # let others run: a scripted upstream never waits
        except UpstreamFailed as error:
            stream.upstream_failed(503, "upstream_failed", f"upstream connect error: {error}")
            return
        if not ended:
            stream.response_body(b"", end_of_stream=True)

    def _take(self, event: ResponseHeaders | bytes | ResponseTrailers) -> bool:
        """True when it was the end of the response."""
        if isinstance(event, ResponseHeaders):
            self._stream.response_headers(event.pairs, event.end_of_stream)
            return event.end_of_stream
        if isinstance(event, bytes):
            self._stream.response_body(event, end_of_stream=False)
            return False
        self._stream.response_trailers(event.pairs)
        return True

    async def _request_body(self) -> AsyncIterator[bytes]:
        sent = 0
        received = self._stream.upstream
        while not self._stream.closed:
            while sent < len(received.chunks):
                sent += 1
                yield received.chunks[sent - 1]
            if received.ended:
                return
            self._changed.clear()
            await self._changed.wait()

    async def _more(self, is_there: Callable[[], bool]) -> None:
        while not is_there() and self._stream.wants_upstream():
            self._changed.clear()
            await self._changed.wait()


def _backend(backend: RedisBackend | str | None) -> RedisBackend | None:
    if not isinstance(backend, str):
        return backend
    parts = urlsplit(backend)
    if parts.scheme != "redis" or not parts.hostname:
        raise SimulatorError(f"a Redis backend is redis://host:port, not {backend!r}")
    return TcpRedis(parts.hostname, parts.port or 6379)


async def _async(chunks: Iterable[bytes] | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    if isinstance(chunks, AsyncIterable):
        async for chunk in chunks:
            yield chunk
    else:
        for chunk in chunks:
            yield chunk
