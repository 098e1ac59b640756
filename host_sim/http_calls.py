"""The HTTP callouts of one VM that are on their way."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxywasm.enums import Status

from .buffers import Buffer
from .callouts import HttpCall, HttpResponse, error_response
from .clock import Priority, Timer
from .codec import Pair
from .contexts import NO_REPLY, CalloutReply, RootContext
from .errors import HostCallError
from .headers import HeaderMap
from .tokens import CallKind

if TYPE_CHECKING:
    from .vm import Vm

HTTP_CALLS_MAX = 100_000
TIMED_OUT = error_response(504, "upstream request timeout")


@dataclass(slots=True)
class _Pending:
    root: RootContext
    timer: Timer | None = None


class HttpCalls:
    def __init__(self, vm: "Vm") -> None:
        self._vm = vm
        self._pending: dict[int, _Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def start(
        self,
        root: RootContext,
        cluster: str,
        headers: list[Pair],
        body: bytes,
        trailers: list[Pair],
        timeout_ms: int,
    ) -> int:
        if len(self._pending) >= HTTP_CALLS_MAX:
            raise HostCallError(Status.INTERNAL_FAILURE, f"{HTTP_CALLS_MAX} HTTP calls are pending")
        vm = self._vm
        call_id = vm.tokens.next(CallKind.HTTP)
        done = self._done(call_id)
        pending = self._pending[call_id] = _Pending(root)
        try:
            vm.gateway.callouts.start(
                HttpCall(call_id, root.context_id, cluster, headers, body, trailers, timeout_ms, done)
            )
        except HostCallError:
            del self._pending[call_id]
            raise
        if timeout_ms:
            pending.timer = vm.gateway.scheduler.call_later(timeout_ms, lambda: done(TIMED_OUT), Priority.TIMEOUT)
        return call_id

    def _done(self, call_id: int) -> Callable[[HttpResponse | None], None]:
        return lambda response: self._vm.deliver(lambda: self._finish(call_id, response))

    def _finish(self, call_id: int, response: HttpResponse | None) -> None:
        """Tell the plugin, once; None is a failure."""
        pending = self._pending.pop(call_id, None)
        if pending is None:
            return
        if pending.timer is not None:
            pending.timer.cancel()
        root = pending.root
        if response is None:
            root.status_code, root.status_message = Status.BROKEN_CONNECTION, b"reset"
            sizes = (0, 0, 0)
        else:
            headers, trailers = HeaderMap(response.headers), HeaderMap(response.trailers)
            body = Buffer(response.body, writable=False)
            root.reply = CalloutReply(headers, trailers, body)
            sizes = (len(headers), len(body), len(trailers))
        self._vm.callback("proxy_on_http_call_response", root.context_id, call_id, *sizes)
        root.reply = NO_REPLY
        root.status_message = b""
        self._vm.on_call_end()

    def close(self) -> None:
        """Forget them all."""
        for pending in self._pending.values():
            if pending.timer is not None:
                pending.timer.cancel()
        self._pending.clear()
