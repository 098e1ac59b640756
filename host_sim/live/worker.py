"""The plugin's VM and what surrounds it: clusters, health checks, callouts, and the streams that run on it.

A new configuration makes a new worker. The old one takes no new streams, ends when its last one has ended, and keeps
its ticks and health checks until then.
"""

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Callable, Mapping

import aiohttp

from ..clock import LoopScheduler
from ..cluster import Cluster
from ..deployment import Deployment, make_links
from ..gateway import Gateway
from ..guest import GuestFactory
from ..records import LOGS_MAX, LogRecord
from ..redis_backend import RedisBackend
from ..setup import make_clusters
from ..shared import Shared
from ..stream import HttpStream
from ..upstream import Upstream
from ..upstream_callouts import UpstreamCallouts
from ..vm import Vm
from .config import GatewayConfig
from .health import HealthChecks
from .observations import Observations

SETTLE_TIMEOUT_S = 10.0  # for the plugin's calls that are pending when its last stream has ended


class Logs(deque[LogRecord]):
    """The log lines of a gateway; `hear` is told of each."""

    def __init__(self, hear: Callable[[LogRecord], None]) -> None:
        super().__init__(maxlen=LOGS_MAX)
        self._hear = hear

    def append(self, record: LogRecord) -> None:
        super().append(record)
        self._hear(record)


class Worker:
    """Made by `start_worker`. `number` counts up with every configuration."""

    def __init__(self, number: int, config: GatewayConfig, deployment: Deployment, callouts: UpstreamCallouts) -> None:
        self.number = number
        self.config = config
        self.streams: set[HttpStream] = set()
        self._deployment = deployment
        self._callouts = callouts
        self._checks: list[HealthChecks] = []
        self._idle = asyncio.Event()
        self._idle.set()

    def __repr__(self) -> str:
        return f"<worker {self.number}: {len(self.streams)} streams, {self.vm!r}>"

    @property
    def vm(self) -> Vm:
        """The one that serves now: one that trapped is replaced as the gateway's policy has it."""
        return self._deployment.vm

    @property
    def clusters(self) -> dict[str, Cluster]:
        return self.vm.gateway.clusters

    def open_stream(self) -> HttpStream:
        stream = self._deployment.workers[0].open_stream()
        self.streams.add(stream)
        self._idle.clear()
        return stream

    def release(self, stream: HttpStream) -> None:
        self.streams.discard(stream)
        if not self.streams:
            self._idle.set()

    def abort_streams(self) -> None:
        for stream in list(self.streams):
            stream.abort()
            self.release(stream)

    async def start_checks(self, session: aiohttp.ClientSession, observations: Observations) -> None:
        """Returns after the first check of every endpoint."""
        for cluster in self.config.clusters:
            if cluster.health_check is not None:

                def on_result(address: str, problem: str, name: str = cluster.name) -> None:
                    observations.counters(name, address).check = problem
                    observations.changed()

                checks = HealthChecks(self.clusters[cluster.name], cluster.health_check, session, on_result)
                self._checks.append(checks)
        await asyncio.gather(*(checks.start() for checks in self._checks))

    async def retire(self) -> None:
        """Wait for the streams, then end the plugin."""
        try:
            await self._idle.wait()
            await self._settle()
            for vm in self._deployment.vms:
                vm.finish()
            await self._settle()  # what the plugin asked for at its end
        finally:
            await self.close()

    async def close(self) -> None:
        for checks in self._checks:
            await checks.stop()
        await self._callouts.close()
        self._deployment.close()

    async def _settle(self) -> None:
        ended = asyncio.Event()
        for vm in self._deployment.vms:
            vm.on_call_end = ended.set
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                while self._deployment.pending_calls:
                    ended.clear()
                    await ended.wait()


async def start_worker(
    number: int,
    config: GatewayConfig,
    factory: GuestFactory,
    redis: Mapping[str, RedisBackend | None],
    shared: Shared,
    upstream: Upstream,
    session: aiohttp.ClientSession,
    observations: Observations,
    on_error: Callable[[Exception], None],
) -> Worker:
    """Start the plugin and check the endpoints' health once; LoadError if the plugin does not start."""
    clusters = make_clusters({cluster.name: cluster.endpoints for cluster in config.clusters})
    callouts = UpstreamCallouts(clusters, upstream, config.plugin.target, on_error)
    gateway = Gateway(
        clusters=clusters,
        redis=redis,
        callouts=callouts,
        scheduler=LoopScheduler(),
        random_bytes=secrets.token_bytes,
        shared=shared,
        routes=config.routes,
        log_level=config.plugin.log_level,
        allow_on_headers_stop_iteration=config.plugin.allow_on_headers_stop_iteration,
        buffer_size_max=config.plugin.buffer_size_max,
        on_error=on_error,
        logs=Logs(observations.log),
    )
    links = make_links(factory, config.plugin.plugin, ())
    try:
        worker = Worker(number, config, Deployment(links, config.plugin.target, gateway), callouts)
    except BaseException:
        await callouts.close()
        raise
    try:
        await worker.start_checks(session, observations)
    except BaseException:
        await worker.close()
        raise
    return worker
