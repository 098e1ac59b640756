"""One plugin on one TCP connection: its context in the guest and the data that it holds back.

A plugin that does not return Continue keeps what has come; the next data are added to it and shown again as a whole.
`proceed` passes on what the client sent; for what the upstream sent there is no such call, as on Envoy.
"""

from typing import TYPE_CHECKING

from proxywasm.enums import PeerType

from .buffers import Buffer
from .contexts import RootContext
from .records import Trace

if TYPE_CHECKING:
    from .connection import TcpConnection

CONTINUE, STOP = 0, 1


class TcpFilter:
    """`position` in the chain counts from the client's side."""

    def __init__(self, connection: "TcpConnection", root: RootContext, position: int) -> None:
        self.connection = connection
        self.root = root
        self.vm = root.vm
        self.position = position
        self.context_id = self.vm.new_context_id()
        self.trace: Trace = connection.trace
        self.from_downstream = Buffer()
        self.from_upstream = Buffer()
        self.downstream_ended = False
        self.upstream_ended = False
        self._created = False
        self._deleted = False
        self._downstream_closed = False
        is_open = root.plugin.failure_policy == "FAIL_OPEN"
        self._fails_open = is_open and (self.vm.target == "higress" or self.vm.dead is not None)

    def __repr__(self) -> str:
        return f"<filter {self.context_id}: {len(self.from_downstream)} and {len(self.from_upstream)} bytes held>"

    @property
    def created(self) -> bool:
        return self._created

    def new_connection(self) -> bool:
        """False: the next plugins have to wait."""
        self._created = True
        if self.vm.dead is None:
            self.vm.contexts[self.context_id] = self
        self.vm.callback("proxy_on_context_create", self.context_id, self.root.context_id)
        return self._action("proxy_on_new_connection") == CONTINUE

    def downstream_data(self, data: bytes, end: bool) -> bool:
        """True if it goes on, with all that was held."""
        self.from_downstream.append(data)
        self.downstream_ended = end
        return self._action("proxy_on_downstream_data", len(self.from_downstream), int(end)) == CONTINUE

    def upstream_data(self, data: bytes, end: bool) -> bool:
        """True if it goes on, with all that was held."""
        self.from_upstream.append(data)
        self.upstream_ended = end
        goes_on = self._action("proxy_on_upstream_data", len(self.from_upstream), int(end)) == CONTINUE
        if end and not self._deleted:
            self.vm.callback("proxy_on_upstream_connection_close", self.context_id, PeerType.UNKNOWN)
            if self._downstream_closed:
                self._delete()
        return goes_on

    def downstream_closed(self, peer: PeerType) -> None:
        """The connection is gone: the context ends."""
        if self._created and not self._deleted:
            self._downstream_closed = True
            self.vm.callback("proxy_on_downstream_connection_close", self.context_id, peer)
            self._delete()

    def _delete(self) -> None:
        """Done, log, delete: for TCP in this order. What on_done returns is not looked at."""
        self._deleted = True
        self.vm.callback("proxy_on_done", self.context_id, default=1)
        self.vm.callback("proxy_on_log", self.context_id)
        self.vm.callback("proxy_on_delete", self.context_id)
        self.vm.contexts.pop(self.context_id, None)

    def _action(self, export: str, *arguments: int) -> int:
        if not self.vm.is_dead():
            result = self.vm.callback(export, self.context_id, *arguments)
            if not self.vm.is_dead():
                return CONTINUE if result == CONTINUE else STOP
        if self._fails_open:
            return CONTINUE
        self.connection.close("the VM is dead")
        return STOP
