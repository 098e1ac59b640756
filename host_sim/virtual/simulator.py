"""The driver of whole requests in virtual time."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from ..abi import Target
from ..callouts import HttpCallouts
from ..clock import NANOSECONDS_PER_MS, ManualScheduler
from ..cluster import Cluster
from ..errors import LeftoverError, SimulatorError
from ..exchange import Exchange
from ..redis_backend import RedisBackend
from ..setup import Clusters, GuestSource
from ..stepped import SteppedSimulator
from .callouts import TimedCallouts
from .client import Client, Request
from .upstream import TimedUpstream, name_itself

RUN_TIME_MAX_MS = 3_600_000.0  # of virtual time in one `run`: a plugin whose timer ticks for ever never comes to rest
SETTLE_TIME_MAX_MS = 60_000.0


class VirtualSimulator(SteppedSimulator):
    """A SteppedSimulator whose clients, upstreams and callouts act by themselves as time passes.

    upstream: the script of every endpoint, also for callouts; by default 200 and the address of the endpoint
    redis: TimedRedis, or any other backend; what waits at a SteppedRedis is answered by hand as ever
    route_timeout_ms: of the route, from the end of the request to the end of the response; 0: none
    seed: of the guest's randomness; a script takes its own from wherever it likes
    scheduler: the clock that the peers were made with
    options: further ones of SteppedSimulator
    """

    def __init__(
        self,
        guest: GuestSource,
        target: Target = "higress",
        plugin_config: Mapping[str, Any] | str | bytes = b"",
        clusters: Clusters | None = None,
        redis: Mapping[str, RedisBackend | None] | None = None,
        upstream: TimedUpstream = name_itself,
        route_timeout_ms: float = 0.0,
        seed: int = 0,
        fuel: bool = False,
        scheduler: ManualScheduler | None = None,
        **options: Any,
    ) -> None:
        self.upstream = upstream
        self.route_timeout_ms = route_timeout_ms
        self.open_requests: dict[int, Request] = {}  # by number, in the order of their start
        self._requests_sent = 0
        super().__init__(guest, target, plugin_config, clusters, redis, seed, fuel, scheduler, **options)

    def __enter__(self) -> "VirtualSimulator":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make_callouts(self, clusters: Mapping[str, Cluster], target: Target) -> HttpCallouts:
        return TimedCallouts(clusters, target, self.scheduler, lambda request: self.upstream(request))

    @property
    def now_ms(self) -> float:
        return self.scheduler.monotonic_ns() / NANOSECONDS_PER_MS

    def send(self, client: Client, on_end: Callable[[Request], None] | None = None, worker: int = 0) -> Request:
        """Begin a request now; `on_end` is told when its stream is closed. Time passes in `run` or `advance`."""
        self._requests_sent += 1
        number = self._requests_sent

        def ended(request: Request) -> None:
            del self.open_requests[number]
            if on_end is not None:
                on_end(request)

        stream = self.open_stream(worker)
        request = Request(stream, client, self.scheduler, self.upstream, self.route_timeout_ms, ended)
        self.open_requests[number] = request
        request.start()
        return request

    def request(self, client: Client | None = None, **fields: Any) -> Exchange:
        """Play one request to its end; `fields` are those of Client, if none is given."""
        request = self.send(client if client is not None else Client(**fields))
        self.run(lambda: request.ended)
        return request.exchange()

    def run(self, until: Callable[[], bool] | None = None, time_max_ms: float = RUN_TIME_MAX_MS) -> None:
        """Let time pass until `until()` is true; by default until every request has ended.

        SimulatorError if that does not come: nothing more happens, or not within `time_max_ms` of virtual time.
        """
        is_over = until if until is not None else lambda: not self.open_requests
        end_ns = self.scheduler.monotonic_ns() + int(time_max_ms * NANOSECONDS_PER_MS)
        scheduler = self.scheduler
        while not is_over():
            next_ns = scheduler.next_ns
            if next_ns is None or next_ns > end_ns:
                raise SimulatorError(f"nothing ends what is waited for at {self.now_ms} ms:\n{self._open()}")
            scheduler.step()

    def settle(self, time_max_ms: float = SETTLE_TIME_MAX_MS) -> None:
        """Let time pass until no callout of the plugin is pending; LeftoverError if that does not come."""
        try:
            self.run(lambda: not self.deployment.pending_calls, time_max_ms)
        except SimulatorError as error:
            raise LeftoverError(f"{self.deployment.pending_calls} calls are still pending") from error

    def finish(self) -> None:
        """Wait for pending calls, end the plugin and free the VM; LeftoverError if something is open or paused."""
        self.settle()
        super().finish()

    def _open(self) -> str:
        return "\n".join(f"  {request!r}" for request in self.open_requests.values()) or "  no request is open"
