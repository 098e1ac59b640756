"""gRPC calls and streams of a plugin: what it asks for, and who answers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from .codec import Pair
from .errors import UsageError


class GrpcEvents(Protocol):
    """Where the peer's part of a call or stream is told; what comes after the end is ignored.

    A call ends with its one message, or with `closed` if it failed; a stream with `closed`.
    """

    def initial_metadata(self, pairs: list[Pair]) -> None: ...
    def message(self, data: bytes) -> None: ...
    def trailing_metadata(self, pairs: list[Pair]) -> None: ...
    def closed(self, status: int, message: str = "") -> None: ...


@dataclass(slots=True, eq=False)
class GrpcCall:
    """A call (`message` is its one message) or a stream (None); `sent` is what the plugin sent on the stream."""

    call_id: int
    cluster: str
    service: str
    method: str
    metadata: list[Pair]
    message: bytes | None
    timeout_ms: int
    events: GrpcEvents = field(repr=False)
    sent: list[bytes] = field(default_factory=list)
    half_closed: bool = False  # the plugin sends nothing more
    cancelled: bool = False


class GrpcCallouts(Protocol):
    def start(self, call: GrpcCall) -> None:
        """Begin the call; HostCallError(INTERNAL_FAILURE) if it cannot even be begun."""

    def changed(self, call: GrpcCall) -> None:
        """The plugin has sent a message, closed its side or cancelled."""


class SteppedGrpc:
    """For step-by-step driving: calls and streams wait in `pending` for what is told to their `events`."""

    def __init__(self) -> None:
        self.pending: list[GrpcCall] = []

    def start(self, call: GrpcCall) -> None:
        self.pending.append(call)

    def changed(self, call: GrpcCall) -> None:
        if call.cancelled and call in self.pending:
            self.pending.remove(call)

    def oldest(self) -> GrpcCall:
        if not self.pending:
            raise UsageError("no gRPC call is pending")
        return self.pending[0]


class ScriptedGrpc:
    """Answers from a function, which is called when a call starts and whenever the plugin did something on it."""

    def __init__(self, script: Callable[[GrpcCall], None]) -> None:
        self._script = script

    def start(self, call: GrpcCall) -> None:
        self._script(call)

    def changed(self, call: GrpcCall) -> None:
        self._script(call)
