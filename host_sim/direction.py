"""One direction of an HTTP stream as one plugin sees it: what is held back, what goes on, and when.

Theory of operation. Headers, data and trailers come in through `receive_*`; each runs the guest's callback, and the
action that the callback returns decides:

- Continue: the part goes on, and with it whatever was held before it.
- Stop (`Hold.PART`): the part is held; the callbacks for later parts still run.
- Stop all (`Hold.ALL`): the part is held and no callback runs; later parts wait. `proceed` then sends the held part
  on and runs the callbacks for what has waited.

`proceed` is what the host call continue_stream comes down to. The statuses are Envoy's FilterHeadersStatus,
FilterDataStatus and FilterTrailersStatus.

What the guest can reach follows Envoy's pointers: headers and trailers from their callback on, until that callback
returns Continue; the body from its callback until one returns Continue.
"""

from collections import deque
from enum import Enum
from typing import Protocol

from proxywasm.enums import DataAction, HeaderAction

from .buffers import Buffer
from .errors import UsageError
from .headers import HeaderMap

METADATA_HELD_MAX = 1_000


class Hold(Enum):
    NONE = "continuing"
    PART = "stopped"
    ALL = "stopped, no callbacks"


class Owner(Protocol):
    """The stream, as a direction needs it."""

    def action(self, direction: "Direction", export: str, *arguments: int) -> int | None:
        """Run a callback of the guest; None when the direction was stopped for good and nothing may go on."""

    def header_action(self, result: int) -> HeaderAction:
        """What the result of a headers callback means under the module's ABI version."""

    def notify(self, export: str, *arguments: int) -> None:
        """Run a callback whose result does not matter."""

    def send_headers(self, direction: "Direction", end: bool) -> None: ...
    def send_data(self, direction: "Direction", data: bytes, end: bool) -> None: ...
    def send_trailers(self, direction: "Direction") -> None: ...
    def send_metadata(self, direction: "Direction", metadata: HeaderMap) -> None: ...
    def buffer_overflow(self, direction: "Direction") -> None: ...


class Direction:
    """`name` is "request" or "response"."""

    def __init__(self, name: str, owner: Owner, buffer_size_max: int) -> None:
        self.name = name
        self.buffer_size_max = buffer_size_max
        self.headers: HeaderMap | None = None
        self.trailers: HeaderMap | None = None
        self.received_size = 0  # bytes of the body, so far
        self.headers_sent = False
        self.trailers_sent = False
        # Whether the guest can reach the map: from its callback on, until that or `continue_stream` lets it go on.
        self.headers_open = False
        self.trailers_open = False
        self.hold = Hold.NONE
        self.received_all = False
        self.owner = owner
        self._held = Buffer()  # data that a callback has seen and held
        self._waiting = Buffer()  # data that no callback has seen yet
        self._any_data = False
        self._trailers_seen = False  # by the guest
        self._buffering = False  # the guest wants to see the held data again
        self._visible: Buffer | None = None  # the data of the callback in progress, or of one that held it
        self._metadata: deque[HeaderMap] = deque()  # that no callback has seen yet

    def __repr__(self) -> str:
        return f"<{self.name}: {self.hold.value}, {self.held_size} bytes held>"

    @property
    def body(self) -> Buffer | None:
        """The body buffer that the guest can reach now."""
        return self._visible

    @property
    def held_size(self) -> int:
        """Bytes of the body that are held back."""
        return len(self._held) + len(self._waiting)

    # What comes in

    def receive_headers(self, headers: HeaderMap, end: bool) -> None:
        if self.headers is not None:
            raise UsageError(f"the {self.name} headers came already")
        self.headers = headers
        self.headers_open = True
        self.received_all = end
        result = self.owner.action(self, f"proxy_on_{self.name}_headers", len(self.headers), int(end))
        if result is None or (self.headers_sent and self.received_all):
            return  # ended, or all of it was continued from within the callback
        action = self.owner.header_action(result)
        if action is HeaderAction.STOP_ITERATION:
            self.hold = Hold.PART
        elif action in (HeaderAction.STOP_ALL_ITERATION_AND_BUFFER, HeaderAction.STOP_ALL_ITERATION_AND_WATERMARK):
            self.hold = Hold.ALL
        else:  # Envoy has no CONTINUE_AND_END_STREAM any more and continues
            self.headers_open = False
            self._send_headers()

    def receive_data(self, data: bytes, end: bool) -> None:
        if self.headers is None or self.received_all:
            raise UsageError(f"{self.name} data before the headers or after the end")
        self.received_all = end
        self.received_size += len(data)
        self._any_data = True
        if self.hold is Hold.ALL:
            self._waiting.append(data)
            self._check_size(self._waiting)
        else:
            self._data_callback(data, end)

    def receive_trailers(self, trailers: HeaderMap) -> None:
        if self.headers is None or self.received_all:
            raise UsageError(f"{self.name} trailers before the headers or after the end")
        self.received_all = True
        self.trailers = trailers
        if self.hold is not Hold.ALL:
            self._trailers_callback()

    def receive_metadata(self, metadata: HeaderMap) -> None:
        """HTTP/2 METADATA: the guest is told how many entries came; it can neither read nor hold them."""
        if self.hold is Hold.ALL:
            if len(self._metadata) >= METADATA_HELD_MAX:
                raise UsageError(f"{METADATA_HELD_MAX} {self.name} metadata frames are held back")
            self._metadata.append(metadata)
            return
        self.owner.notify(f"proxy_on_{self.name}_metadata", len(metadata))
        self.owner.send_metadata(self, metadata)

    # What the guest asks for

    def proceed(self) -> None:
        """Go on after a stop. From within the headers callback: the headers go on, whatever that returns."""
        was, self.hold = self.hold, Hold.NONE
        if was is Hold.NONE:
            if self.headers is not None:
                self._send_headers()
            return
        self._send_headers()
        while self._metadata and self.hold is Hold.NONE:
            self.receive_metadata(self._metadata.popleft())
        if was is Hold.PART:
            self._send_held()
            return
        if self._any_data:
            end = self.received_all and self.trailers is None
            self._data_callback(self._waiting.take(), end)
        if self.trailers is not None and self.hold is not Hold.ALL:
            self._trailers_callback()

    def close_maps(self) -> None:
        """The guest asked to continue: at once, as on Envoy, although nothing goes on before the callback returns."""
        self.headers_open = self.trailers_open = False
        self._visible = None

    def add_trailers(self) -> HeaderMap | None:
        """An empty map for the guest to fill, if this is the callback for the last part of the body."""
        if self._visible is None or not self.received_all or self.trailers is not None:
            return None
        self.trailers, self.trailers_open = HeaderMap(), True
        self._trailers_seen = True
        return self.trailers

    def stop(self) -> None:
        """For good: what is held is dropped and nothing more goes on."""
        self.hold = Hold.ALL
        self._held.take()
        self._waiting.take()

    # Inside

    def _data_callback(self, data: bytes, end: bool) -> None:
        if self._buffering:
            self._held.append(data)
            visible = self._held
        else:
            visible = Buffer(data)
        self._visible = visible
        result = self.owner.action(self, f"proxy_on_{self.name}_body", len(visible), int(end))
        self._buffering = False
        if result is None:
            return
        if result == DataAction.CONTINUE:
            self._visible = None
            self.hold = Hold.NONE
            self._hold_data(visible)
            self._send_headers()
            self._send_held()
            return
        self.hold = Hold.PART
        if result == DataAction.STOP_ITERATION_AND_BUFFER:
            self._hold_data(visible)
            self._visible = self._held
            self._buffering = True
            self._check_size(self._held)
        elif result == DataAction.STOP_ITERATION_AND_WATERMARK:
            self._hold_data(visible)
        else:
            visible.take()

    def _hold_data(self, visible: Buffer) -> None:
        if visible is not self._held:
            self._held.append(visible.take())

    def _trailers_callback(self) -> None:
        assert self.trailers is not None
        self.trailers_open = True
        result = self.owner.action(self, f"proxy_on_{self.name}_trailers", len(self.trailers))
        if result is None:
            return
        self._trailers_seen = True
        if result == 0:
            self.trailers_open = False
            self.hold = Hold.NONE
            self.trailers_open = False
            self._send_headers()
            self._send_held()
        else:
            self.hold = Hold.PART

    def _check_size(self, buffer: Buffer) -> None:
        if len(buffer) > self.buffer_size_max:
            self.owner.buffer_overflow(self)

    def _send_headers(self) -> None:
        if not self.headers_sent:
            self.headers_sent = True
            self.owner.send_headers(self, self.received_all and not self._any_data and self.trailers is None)

    def _send_held(self) -> None:
        """Held data and, if they are there, trailers."""
        self._buffering = False
        self._visible = None
        if self.trailers_sent:
            return
        data = self._held.take()
        end = self.received_all and self.trailers is None and self._any_data
        if data or end:
            self.owner.send_data(self, data, end)
        if self._trailers_seen and self.hold is Hold.NONE:
            self.trailers_sent = True
            self.owner.send_trailers(self)
