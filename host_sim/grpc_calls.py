"""The gRPC calls and streams of one VM.

A call that succeeds ends with on_grpc_receive, one that fails with on_grpc_close. A stream ends with on_grpc_close when
the peer closes it; one that the peer has closed is forgotten when the plugin has closed it too, as in Envoy.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxywasm.enums import Status

from .buffers import Buffer
from .clock import Priority, Timer
from .codec import Pair
from .contexts import NO_REPLY, CalloutReply, RootContext
from .errors import HostCallError
from .grpc_callouts import GrpcCall
from .headers import HeaderMap, to_bytes
from .tokens import CallKind, kind_of

if TYPE_CHECKING:
    from .vm import Vm

GRPC_CALLS_MAX = 100_000
UNAVAILABLE = 14  # what a call that timed out ends with: Envoy's own 504, as a gRPC status
TIMED_OUT = "upstream request timeout{response_timeout}"


@dataclass(slots=True, eq=False)
class _Pending:
    """`grpc_callouts.GrpcEvents` of one call."""

    calls: "GrpcCalls" = field(repr=False)
    root: RootContext
    call_id: int
    call: GrpcCall = field(init=False)
    timer: Timer | None = None
    plugin_closed: bool = False
    peer_closed: bool = False

    def initial_metadata(self, pairs: list[Pair]) -> None:
        self.calls.deliver_metadata(self, "initial", HeaderMap(pairs))

    def message(self, data: bytes) -> None:
        self.calls.deliver_message(self, data)

    def trailing_metadata(self, pairs: list[Pair]) -> None:
        self.calls.deliver_metadata(self, "trailing", HeaderMap(pairs))

    def closed(self, status: int, message: str = "") -> None:
        self.calls.deliver_close(self, status, message)


class GrpcCalls:
    def __init__(self, vm: "Vm") -> None:
        self._vm = vm
        self._pending: dict[int, _Pending] = {}

    def __len__(self) -> int:
        """Those that the peer has not ended."""
        return sum(not pending.peer_closed for pending in self._pending.values())

    def start(
        self,
        root: RootContext,
        cluster: str,
        service: str,
        method: str,
        metadata: list[Pair],
        message: bytes | None,
        timeout_ms: int,
    ) -> int:
        """A call, or a stream if `message` is None. `timeout_ms` 0: none."""
        if len(self._pending) >= GRPC_CALLS_MAX:
            raise HostCallError(Status.INTERNAL_FAILURE, f"{GRPC_CALLS_MAX} gRPC calls are pending")
        kind = CallKind.GRPC_STREAM if message is None else CallKind.GRPC_CALL
        gateway = self._vm.gateway
        call_id = self._vm.tokens.next(kind)
        pending = _Pending(self, root, call_id)
        call = pending.call = GrpcCall(
            call_id, cluster, service, method, metadata, message, timeout_ms, pending, half_closed=message is not None
        )
        self._pending[call_id] = pending
        try:
            gateway.grpc.start(call)
        except HostCallError:
            del self._pending[call_id]
            raise
        if timeout_ms:
            pending.timer = gateway.scheduler.call_later(
                timeout_ms, lambda: pending.closed(UNAVAILABLE, TIMED_OUT), Priority.TIMEOUT
            )
        return call_id

    # What the plugin does

    def send(self, call_id: int, message: bytes, end: bool) -> None:
        """On a stream that the peer has closed nothing is sent, and that is no error."""
        if kind_of(call_id) is not CallKind.GRPC_STREAM:
            raise HostCallError(Status.BAD_ARGUMENT, f"{call_id} is no gRPC stream")
        pending = self._find(call_id)
        if not pending.peer_closed:
            pending.call.sent.append(message)
            pending.call.half_closed = end
            self._vm.gateway.grpc.changed(pending.call)

    def close(self, call_id: int) -> None:
        """A call is cancelled; of a stream the plugin's side ends, and the peer may still answer."""
        pending = self._find(call_id)
        if kind_of(call_id) is CallKind.GRPC_CALL:
            self._cancel(pending)
        elif pending.peer_closed:
            self._forget(pending)
        else:
            pending.plugin_closed = pending.call.half_closed = True
            self._vm.gateway.grpc.changed(pending.call)

    def cancel(self, call_id: int) -> None:
        self._cancel(self._find(call_id))

    def _find(self, call_id: int) -> _Pending:
        if kind_of(call_id) not in (CallKind.GRPC_CALL, CallKind.GRPC_STREAM):
            raise HostCallError(Status.BAD_ARGUMENT, f"{call_id} is no gRPC call")
        try:
            return self._pending[call_id]
        except KeyError:
            raise HostCallError(Status.NOT_FOUND, f"no gRPC call {call_id}") from None

    def _cancel(self, pending: _Pending) -> None:
        self._forget(pending)
        pending.call.cancelled = True
        self._vm.gateway.grpc.changed(pending.call)

    def _forget(self, pending: _Pending) -> None:
        self._pending.pop(pending.call_id, None)
        if pending.timer is not None:
            pending.timer.cancel()
        self._vm.on_call_end()

    # What the peer does

    def deliver_metadata(self, pending: _Pending, which: str, metadata: HeaderMap) -> None:
        is_initial = which == "initial"
        reply = CalloutReply(
            grpc_initial_metadata=metadata if is_initial else None,
            grpc_trailing_metadata=None if is_initial else metadata,
        )
        export = f"proxy_on_grpc_receive_{which}_metadata"
        self._vm.deliver(lambda: self._tell(pending, export, reply, len(metadata)))

    def deliver_message(self, pending: _Pending, data: bytes) -> None:
        reply = CalloutReply(grpc_message=Buffer(data))

        def tell() -> None:
            if not self._is_open(pending):
                return
            if pending.call.message is not None:
                self._forget(pending)
            self._callback(pending, "proxy_on_grpc_receive", reply, len(data))

        self._vm.deliver(tell)

    def deliver_close(self, pending: _Pending, status: int, message: str) -> None:
        def tell() -> None:
            if not self._is_open(pending):
                return
            pending.peer_closed = True
            if pending.plugin_closed or pending.call.message is not None:
                self._forget(pending)
            root = pending.root
            root.status_code, root.status_message = status, to_bytes(message)
            self._callback(pending, "proxy_on_grpc_close", NO_REPLY, status)
            root.status_message = b""

        self._vm.deliver(tell)

    def _is_open(self, pending: _Pending) -> bool:
        return self._pending.get(pending.call_id) is pending and not pending.peer_closed

    def _tell(self, pending: _Pending, export: str, reply: CalloutReply, argument: int) -> None:
        if self._is_open(pending):
            self._callback(pending, export, reply, argument)

    def _callback(self, pending: _Pending, export: str, reply: CalloutReply, argument: int) -> None:
        root = pending.root
        root.reply = reply
        self._vm.callback(export, root.context_id, pending.call_id, argument)
        root.reply = NO_REPLY

    def shut_down(self) -> None:
        """Forget them all."""
        for pending in self._pending.values():
            if pending.timer is not None:
                pending.timer.cancel()
        self._pending.clear()
