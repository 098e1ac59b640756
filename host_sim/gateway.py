"""What surrounds the VMs of one gateway: configuration, time, randomness, shared state, the way out."""

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from proxywasm.enums import LogLevel

from .callouts import HttpCallouts, SteppedCallouts
from .clock import ManualScheduler, Scheduler
from .cluster import Cluster
from .dispatcher import Dispatcher
from .grpc_callouts import GrpcCallouts, SteppedGrpc
from .records import LOGS_MAX, LogRecord
from .redis_backend import RedisBackend
from .routes import Route
from .shared import Shared

if TYPE_CHECKING:
    from .setup import GuestSource
    from .vm import Vm

BUFFER_SIZE_MAX = 1024 * 1024  # Envoy's default per_connection_buffer_limit_bytes

RELOAD_BACKOFF_MS = 1000  # Envoy's default base interval

ForeignFunction = Callable[["Vm", bytes], bytes]
FailurePolicy: TypeAlias = Literal["FAIL_CLOSED", "FAIL_OPEN", "FAIL_RELOAD"]


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin's configuration, as the gateway's operator writes it.

    Plugins of one gateway with the same guest, `vm_id` and `vm_configuration` share a VM, with a root context each.
    failure_policy: after a trap a closed plugin answers 503, an open one is left out, a reloaded one gets a new VM when
    a request comes and `reload_backoff_ms` have passed since the last start. Higress makes a new VM under any policy.
    guest: what runs the plugin, as in `Simulator`; None: the simulator's own
    """

    configuration: bytes = b""
    name: str = "plugin"
    root_id: str = "plugin"
    vm_id: str = "vm"
    vm_configuration: bytes = b""
    failure_policy: FailurePolicy = "FAIL_CLOSED"
    reload_backoff_ms: int = RELOAD_BACKOFF_MS
    guest: "GuestSource | None" = None


@dataclass(slots=True)
class Gateway:
    """All that a VM needs from outside. `redis`: cluster name to backend; None stands for a cluster without a host."""

    clusters: dict[str, Cluster] = field(default_factory=dict)
    redis: Mapping[str, RedisBackend | None] = field(default_factory=dict)
    callouts: HttpCallouts = field(default_factory=SteppedCallouts)
    grpc: GrpcCallouts = field(default_factory=SteppedGrpc)
    scheduler: Scheduler = field(default_factory=ManualScheduler)
    random_bytes: Callable[[int], bytes] = field(default_factory=lambda: random.Random(0).randbytes)
    variables: dict[str, str] = field(default_factory=dict)
    shared: Shared = field(default_factory=Shared)
    foreign_functions: dict[str, ForeignFunction] = field(default_factory=dict)
    routes: Sequence[Route] = ()  # tried in order; without any, the three below are the route of every request
    route_name: str = "route"
    cluster_name: str = ""
    cluster_header: str = ""
    log_level: LogLevel = LogLevel.INFO
    allow_on_headers_stop_iteration: bool = False  # stock Envoy's flag of the plugin
    buffer_size_max: int = BUFFER_SIZE_MAX
    on_error: Callable[[Exception], None] | None = None  # who hears of an error in what arrives by itself; None: raised
    logs: deque[LogRecord] = field(default_factory=lambda: deque(maxlen=LOGS_MAX))
    dispatcher: Dispatcher = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.dispatcher = Dispatcher(lambda: self.on_error)
