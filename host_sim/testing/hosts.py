"""What a test drives: a plugin on some host. The simulator, with either guest, and a real Envoy are peers.

All methods are synchronous; each host has an event loop of its own that runs while one of them waits.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from proxywasm.enums import LogLevel

from ..exchange import Exchange
from ..headers import Headers
from ..simulator import REQUEST_TIMEOUT_S, Abort, Body, Simulator
from .options import Addresses

HostKind: TypeAlias = Literal["native", "wasm", "envoy"]
HOST_KINDS: tuple[HostKind, ...] = ("native", "wasm", "envoy")

EXCHANGES_MAX = 100  # kept for `describe`; the oldest go first

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LogLine:
    level: LogLevel
    message: str


class Pending(Protocol):
    """A request on its way."""

    def result(self) -> Exchange:
        """Waits for its end."""

    def cancel(self) -> None:
        """The client goes away."""


class Host(Protocol):
    @property
    def kind(self) -> HostKind: ...
    @property
    def clusters(self) -> Addresses:
        """The addresses of the endpoints, by cluster."""

    def request(
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
        """Plays one request to its end. SimulatorError if it does not end in `timeout_s`."""

    def start(
        self, method: str = "GET", path: str = "/", headers: Headers = (), body: Body = b"", *, trailers: Headers = ()
    ) -> Pending:
        """As `request`, without waiting: it goes on whenever something is waited for."""

    def metrics(self) -> dict[str, int]:
        """Counters and gauges that the plugin defined."""

    def logs(self) -> list[LogLine]:
        """All that the plugin has logged; a real Envoy tells it with some delay."""

    def describe(self) -> str:
        """What a failed test prints: the trace of host calls, where it can be seen."""

    def close(self) -> None: ...


class Loop:
    """An event loop that runs as long as somebody waits."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(coroutine)

    def start(self, coroutine: Coroutine[Any, Any, Exchange]) -> "PendingTask":
        task = self._runner.get_loop().create_task(coroutine)
        self.run(asyncio.sleep(0))
        return PendingTask(self, task)

    def close(self) -> None:
        self._runner.close()


class PendingTask:
    """Pending."""

    def __init__(self, loop: Loop, task: "asyncio.Task[Exchange]") -> None:
        self._loop = loop
        self._task = task

    def result(self) -> Exchange:
        return self._loop.run(self._wait())

    def cancel(self) -> None:
        self._task.cancel()
        self._loop.run(self._end())

    async def _wait(self) -> Exchange:
        return await self._task

    async def _end(self) -> None:
        await asyncio.gather(self._task, return_exceptions=True)


class SimulatedHost:
    """Host, on a Simulator that is not started yet. `simulator` shows all that can be seen only there."""

    def __init__(self, kind: HostKind, simulator: Simulator) -> None:
        self.kind: HostKind = kind
        self.simulator = simulator
        self.clusters: Addresses = {
            name: [endpoint.address for endpoint in cluster.endpoints] for name, cluster in simulator.clusters.items()
        }
        self.exchanges: list[Exchange] = []
        self._loop = Loop()
        try:
            self._loop.run(simulator.__aenter__())
        except BaseException:
            self._loop.close()
            raise

    def request(
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
        return self._loop.run(self._request(method, path, headers, body, trailers, abort, timeout_s))

    def start(
        self, method: str = "GET", path: str = "/", headers: Headers = (), body: Body = b"", *, trailers: Headers = ()
    ) -> Pending:
        return self._loop.start(self._request(method, path, headers, body, trailers, None, REQUEST_TIMEOUT_S))

    async def _request(
        self,
        method: str,
        path: str,
        headers: Headers,
        body: Body,
        trailers: Headers,
        abort: Abort | None,
        timeout_s: float,
    ) -> Exchange:
        exchange = await self.simulator.request(
            method, path, headers, body, trailers=trailers, abort=abort, timeout_s=timeout_s
        )
        self.exchanges.append(exchange)
        del self.exchanges[:-EXCHANGES_MAX]
        return exchange

    def metrics(self) -> dict[str, int]:
        return self.simulator.gateway.shared.metrics.values()

    def logs(self) -> list[LogLine]:
        return [LogLine(record.level, record.message) for record in self.simulator.gateway.logs]

    def finish(self) -> None:
        """Ends the plugin; LeftoverError if anything is open, paused or not deleted."""
        self._loop.run(self.simulator.finish())

    def describe(self) -> str:
        root = self.simulator.vm.trace
        lines = [f"  {record}" for record in (*root.host_calls, *root.logs)]
        return "\n".join([*(str(exchange) for exchange in self.exchanges), "outside of requests:", *lines])

    def close(self) -> None:
        try:
            self._loop.run(self.simulator.__aexit__(None, None, None))
        finally:
            self._loop.close()
