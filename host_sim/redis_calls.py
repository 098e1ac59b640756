"""The Redis calls of one VM that are on their way, and the clients that they use."""

from typing import TYPE_CHECKING

from proxywasm.enums import RedisStatus, Status

from .buffers import Buffer
from .contexts import NO_REPLY, CalloutReply, RootContext
from .errors import HostCallError
from .redis_client import RedisClient
from .tokens import CallKind

if TYPE_CHECKING:
    from .vm import Vm


class RedisCalls:
    def __init__(self, vm: "Vm") -> None:
        self._vm = vm
        self._pending: set[int] = set()  # bounded by the clients' pipelines

    def __len__(self) -> int:
        return len(self._pending)

    def start(self, root: RootContext, client: RedisClient, query: bytes) -> int:
        vm = self._vm
        call_id = vm.tokens.next(CallKind.REDIS)

        def done(status: int, reply: bytes) -> None:
            vm.deliver(lambda: self._finish(root, call_id, status, reply))

        self._pending.add(call_id)
        try:
            client.call(query, done)
        except HostCallError:
            self._pending.discard(call_id)
            raise
        return call_id

    def _finish(self, root: RootContext, call_id: int, status: int, reply: bytes) -> None:
        self._pending.discard(call_id)
        root.reply = CalloutReply(redis_reply=Buffer(reply, writable=False))
        if status != RedisStatus.OK:
            root.status_code, root.status_message = Status.BROKEN_CONNECTION, b"reset"
        self._vm.callback("proxy_on_redis_call_response", root.context_id, call_id, int(status), len(reply))
        root.reply = NO_REPLY
        root.status_message = b""
        self._vm.on_call_end()
