"""The simulator in real time: one gateway with one worker, real upstreams and a real Redis if they are given.

Scripted peers go in the same places: `upstream=ScriptedUpstream(...)`, `redis={"name": ScriptedRedis(...)}`.
"""

import asyncio
import random
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, TypeAlias

from .abi import Target
from .carrier import Carrier
from .clock import LoopScheduler
from .deployment import Deployment, make_links
from .errors import LeftoverError, SimulatorError
from .exchange import Exchange, observe
from .gateway import Gateway, Plugin
from .headers import HeaderMap, Headers, to_bytes
from .redis_backend import RedisBackend
from .setup import Clusters, GuestSource, configuration_bytes, guest_factory, make_clusters, redis_backend
from .stream import HttpStream
from .upstream import ScriptedUpstream, Upstream
from .upstream_callouts import UpstreamCallouts
from .vm import Vm

REQUEST_TIMEOUT_S = 60.0
SETTLE_TIMEOUT_S = 10.0
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
    plugin_options: further fields of gateway.Plugin: name, root_id, vm_id, vm_configuration, failure_policy, ...
    chain: plugins that follow the first one: a request passes them in this order, a response in the reverse one
    workers: how many workers the gateway has; then it has the VMs that Envoy makes (see deployment.py), else only one
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
        plugin_options: Mapping[str, Any] | None = None,
        chain: Sequence[Plugin] = (),
        workers: int | None = None,
        **gateway_options: Any,
    ) -> None:
        self.target: Target = target
        self.seed = secrets.randbits(64) if seed is None else seed
        self.clusters = make_clusters(clusters or {})
        self.upstream: Upstream = upstream if upstream is not None else ScriptedUpstream()
        self._redis = {name: redis_backend(backend) for name, backend in (redis or {}).items()}
        plugin = Plugin(configuration_bytes(plugin_config), **(plugin_options or {}))
        self._links = make_links(guest_factory(guest, fuel), plugin, chain, fuel)
        self._workers = workers
        self._gateway_options = {"cluster_name": next(iter(self.clusters), ""), **gateway_options}
        self._callouts = UpstreamCallouts(self.clusters, self.upstream, target, self._note_error)
        self._deployment: Deployment | None = None
        self._rides: set[_Ride] = set()
        self._error: Exception | None = None  # what broke in a delivery; every request and `finish` tell it

    @property
    def deployment(self) -> Deployment:
        if self._deployment is None:
            raise SimulatorError("the simulator is not started: use it with `async with`")
        return self._deployment

    @property
    def vm(self) -> Vm:
        """Of the first worker's first plugin."""
        return self.deployment.vm

    @property
    def gateway(self) -> Gateway:
        return self.vm.gateway

    async def __aenter__(self) -> "Simulator":
        gateway = Gateway(
            clusters=self.clusters,
            redis=self._redis,
            callouts=self._callouts,
            scheduler=LoopScheduler(),
            random_bytes=random.Random(self.seed).randbytes,
            on_error=self._note_error,
            **self._gateway_options,
        )
        self._deployment = Deployment(self._links, self.target, gateway, self._workers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._callouts.close()
        self.deployment.close()
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
        worker: int = 0,
    ) -> Exchange:
        """Play one request to its end.

        `body`: whole, or an iterable of chunks. `abort`: the client goes away as soon as the request is "paused" by the
        plugin, or when the first part of the "response" has come. SimulatorError if it does not end in `timeout_s`.
        """
        given = HeaderMap(headers)
        pairs = [(b":authority", given.get(b":authority") or AUTHORITY.encode()), (b":path", to_bytes(path))]
        pairs += [(b":method", method.encode()), (b":scheme", b"http")]
        given.remove(b":authority")
        stream = self.deployment.workers[worker].open_stream()
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
        for vm in self.deployment.vms:
            vm.on_call_end = ended.set
        try:
            async with asyncio.timeout(timeout_s):
                while self.deployment.pending_calls:
                    self.raise_error()
                    ended.clear()
                    await ended.wait()
        except TimeoutError:
            left = self.deployment.pending_calls
            raise LeftoverError(f"{left} calls are still pending after {timeout_s} s") from None

    async def finish(self) -> None:
        """Wait for pending calls and end the plugin; LeftoverError if anything is open, paused or not deleted."""
        await self.settle()
        self.raise_error()
        self.deployment.finish()


class _Ride:
    """Carries the bytes of one stream between the client, the plugin's stream and the upstream."""

    def __init__(self, simulator: Simulator, stream: HttpStream, abort: Abort | None) -> None:
        self._simulator = simulator
        self._stream = stream
        self._abort = abort
        self._carrier = Carrier(stream, simulator.upstream)
        stream.on_output = self._on_output

    async def run(self, pairs: list[tuple[bytes, bytes]], body: Body, trailers: HeaderMap) -> None:
        carrying = asyncio.get_running_loop().create_task(self._carrier.run())
        carrying.add_done_callback(lambda task: self.wake())
        try:
            await self._send(pairs, body, trailers)
            await self._carrier.until(lambda: self._is_over(carrying))
        finally:
            carrying.cancel()
            await asyncio.gather(carrying, return_exceptions=True)

    def wake(self) -> None:
        self._carrier.notify()

    def _is_over(self, carrying: "asyncio.Task[None]") -> bool:
        """Raises what broke, in the upstream's part or in a delivery."""
        if self._stream.closed:
            return True
        self._simulator.raise_error()
        if carrying.done():
            carrying.result()
        return False

    def _on_output(self) -> None:
        if self._abort == "response" and self._stream.downstream.headers is not None and not self._stream.closed:
            self._stream.vm.deliver(self._stream.abort)
        self.wake()

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


async def _async(chunks: Iterable[bytes] | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    if isinstance(chunks, AsyncIterable):
        async for chunk in chunks:
            yield chunk
    else:
        for chunk in chunks:
            yield chunk
