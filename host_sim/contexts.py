"""Root contexts: one per plugin and VM. What stream contexts are is in http_filter and tcp_filter."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .buffers import Buffer
from .clock import Timer
from .gateway import Plugin
from .headers import HeaderMap

if TYPE_CHECKING:
    from .vm import Vm


@dataclass(frozen=True, slots=True)
class CalloutReply:
    """What the callback of a callout can read, from any context of its plugin, while it runs."""

    headers: HeaderMap | None = None
    trailers: HeaderMap | None = None
    body: Buffer | None = None
    redis_reply: Buffer | None = None
    grpc_initial_metadata: HeaderMap | None = None
    grpc_trailing_metadata: HeaderMap | None = None
    grpc_message: Buffer | None = None


NO_REPLY = CalloutReply()


@dataclass(frozen=True, slots=True)
class DeclaredProperty:
    """What the foreign function declare_property says: a property that is read-only can be set once."""

    read_only: bool = False


@dataclass(slots=True, eq=False)
class RootContext:
    """`status_code` is that of the last callout that failed: Envoy takes back its message, but not the code."""

    vm: "Vm" = field(repr=False)
    context_id: int
    plugin: Plugin
    tick_period_ms: int = 0
    tick_timer: Timer | None = None
    done_pending: bool = False
    is_configuring: bool = False  # the plugin's configuration can be read
    status_code: int = 0
    status_message: bytes = b""
    reply: CalloutReply = NO_REPLY
    declared: dict[bytes, DeclaredProperty] = field(default_factory=dict)

    @property
    def root(self) -> "RootContext":
        return self

    def cancel_tick(self) -> None:
        if self.tick_timer is not None:
            self.tick_timer.cancel()
            self.tick_timer = None


def cancel_ticks(roots: Iterable[RootContext]) -> None:
    for root in roots:
        root.cancel_tick()
