"""One plugin on one HTTP stream: its context in the guest, its two directions, and what it does when its VM is dead."""

from typing import TYPE_CHECKING

from proxywasm.enums import HeaderAction

from .abi import ABI_HIGRESS
from .contexts import RootContext
from .direction import Direction
from .headers import HeaderMap
from .records import Trace

if TYPE_CHECKING:
    from .stream import HttpStream

CONTINUE = 0


class HttpFilter:
    """`direction.Owner` of both directions. `position` in the chain counts from the client's side."""

    def __init__(self, stream: "HttpStream", root: RootContext, position: int) -> None:
        self.stream = stream
        self.root = root
        self.vm = root.vm
        self.position = position
        self.context_id = self.vm.new_context_id()
        size_max = self.vm.gateway.buffer_size_max
        self.request = Direction("request", self, size_max)
        self.response = Direction("response", self, size_max)
        self.trace: Trace = stream.trace
        self.keep_route_cache = False  # Higress: property clear_route_cache is "off"
        self.logging = False  # on_log is running: maps can be read, not changed
        self._created = False
        self._failed = False  # the VM died under this stream and the plugin fails closed
        is_open = root.plugin.failure_policy == "FAIL_OPEN"
        self._fails_open = is_open and (self.vm.target == "higress" or self.vm.dead is not None)

    def __repr__(self) -> str:
        return f"<filter {self.context_id}: {self.request!r} {self.response!r}>"

    def proceed(self, direction: Direction) -> None:
        """A continue_stream of the guest takes effect."""
        if not self.stream.stopped(direction is self.request):
            direction.proceed()

    def clear_route_cache(self) -> None:
        if not self.keep_route_cache:
            self.stream.clear_route_cache()

    def create(self) -> None:
        if not self._created:
            self._created = True
            if self.vm.dead is None:
                self.vm.contexts[self.context_id] = self
            self.vm.callback("proxy_on_context_create", self.context_id, self.root.context_id)

    # The end, in Envoy's order: on_log of all plugins first

    def log(self) -> None:
        """A plugin that has not seen the stream gets its context now."""
        self.create()
        self.logging = True
        self.vm.callback("proxy_on_log", self.context_id)
        self.logging = False

    def delete(self) -> None:
        """What on_done returns is not looked at for streams."""
        self.vm.callback("proxy_on_done", self.context_id, default=1)
        self.vm.callback("proxy_on_delete", self.context_id)
        self.vm.contexts.pop(self.context_id, None)

    # direction.Owner

    def action(self, direction: Direction, export: str, *arguments: int) -> int | None:
        stream = self.stream
        is_request = direction is self.request
        if stream.stopped(is_request):
            return None
        if is_request:
            if not self._created:
                self.create()
        elif not self._created or self._failed:
            return CONTINUE
        if self.vm.is_dead():
            return self._fail()
        replied = stream.local_reply
        result = self.vm.callback(export, self.context_id, *arguments)
        if self.vm.is_dead():
            return self._fail()
        return None if stream.closed or stream.local_reply is not replied else result

    def notify(self, export: str, *arguments: int) -> None:
        if self._created and not self._failed:
            self.vm.callback(export, self.context_id, *arguments)

    def header_action(self, result: int) -> HeaderAction:
        """Above 4: StopAllIterationAndWatermark; and so is 1, except under Higress's ABI 0_2_100."""
        stop_keeps = self.vm.guest.abi_marker == ABI_HIGRESS or self.vm.gateway.allow_on_headers_stop_iteration
        if result > HeaderAction.STOP_ALL_ITERATION_AND_WATERMARK:
            return HeaderAction.STOP_ALL_ITERATION_AND_WATERMARK
        if result == HeaderAction.STOP_ITERATION and not stop_keeps:
            return HeaderAction.STOP_ALL_ITERATION_AND_WATERMARK
        return HeaderAction(result)

    def send_headers(self, direction: Direction, end: bool) -> None:
        self.stream.pass_headers(self, direction, end)

    def send_data(self, direction: Direction, data: bytes, end: bool) -> None:
        self.stream.pass_data(self, direction, data, end)

    def send_trailers(self, direction: Direction) -> None:
        self.stream.pass_trailers(self, direction)

    def send_metadata(self, direction: Direction, metadata: HeaderMap) -> None:
        self.stream.pass_metadata(self, direction, metadata)

    def buffer_overflow(self, direction: Direction) -> None:
        self.stream.buffer_overflow(direction is self.request)

    # Inside

    def _fail(self) -> int | None:
        """An open plugin lets everything pass; but in stock Envoy only streams that began after the VM had died."""
        if self._fails_open:
            return CONTINUE
        self._failed = True
        self.stream.fail()
        return None
