"""What a plugin subclasses: one RootContext per plugin configuration, one HttpContext or StreamContext per stream.

A method counts as wanted if a subclass overrides it; the host is never asked to call any other one. What the callbacks
return is an ABI action (enums.Action; on Higress also HeaderAction and DataAction) or None for Continue, and a bool or
None for true where the ABI has a bool. Sizes are in bytes, counts are numbers of entries of the header map.
"""

from typing import ClassVar

from . import buffers
from ._host import host
from .callbacks import CONTEXT_CALLBACKS
from .enums import BufferType, MapType
from .headers import HeaderMap

MAX_CONFIGURATION_BYTES = 16 * 1024 * 1024

live: "dict[int, Context]" = {}  # by context id: what the host's callbacks go to

_BIT = {name: 1 << i for i, name in enumerate(CONTEXT_CALLBACKS)}


class Context:
    """What all contexts have in common: the id that the host gave, and the callbacks at the end of life."""

    is_deleted = False
    _wanted: int = 0

    def __init__(self, context_id: int) -> None:
        self.context_id = context_id

    def want_no_more(self, *callbacks: str) -> None:
        """From now on these callbacks of this context are answered with Continue, without entering Python.

        Raises KeyError for a name that is not in callbacks.CONTEXT_CALLBACKS.
        """
        wanted = self._wanted
        for name in callbacks:
            wanted &= ~_BIT[name]
        self._wanted = wanted
        host.set_wanted(self.context_id, wanted)

    def make_current(self) -> None:
        """From now on this callback's calls of the host are about this context: for a root that acts on a stream."""
        host.set_effective_context(self.context_id)

    def on_done(self) -> bool | None:
        """The host has finished with this context. False keeps it alive until `done()` is called."""
        return None

    def done(self) -> None:
        """After on_done has returned False: the context is no longer needed. It must be the current one."""
        host.done()

    def on_log(self) -> None:
        """The last moment at which the stream's headers and properties can be read. Envoy calls it before on_done."""


class RootContext(Context):
    """One per plugin configuration and VM; lives until the VM or the configuration goes.

    `http_context` or `stream_context` is the class of the contexts of its streams; with both, HTTP it is, with none
    the plugin sees no streams. A root may set one of them on itself (`self.http_context = ...`), for example in
    on_configure; such classes must be listed in `further_contexts`, because the module exports only the callbacks
    of the classes that are known when it is built.
    """

    http_context: "type[HttpContext] | None" = None
    stream_context: "type[StreamContext] | None" = None
    further_contexts: "ClassVar[tuple[type[HttpContext | StreamContext], ...]]" = ()

    def vm_configuration(self) -> bytes:
        """The configuration of the VM; readable in on_vm_start."""
        return host.get_buffer_bytes(BufferType.VM_CONFIGURATION, 0, MAX_CONFIGURATION_BYTES) or b""

    def plugin_configuration(self) -> bytes:
        """The configuration of the plugin; readable in on_configure and validate_configuration."""
        return host.get_buffer_bytes(BufferType.PLUGIN_CONFIGURATION, 0, MAX_CONFIGURATION_BYTES) or b""

    def set_tick_period(self, period_ms: int) -> None:
        """Asks for on_tick every `period_ms`; 0 stops it."""
        host.set_tick_period_milliseconds(period_ms)

    def on_vm_start(self, vm_configuration_size: int) -> bool | None:
        """The VM starts. False refuses it."""
        return None

    def on_configure(self, configuration_size: int) -> bool | None:
        """The configuration came or changed. False refuses it."""
        return None

    def validate_configuration(self, configuration_size: int) -> bool | None:
        """The host asks whether a configuration would be accepted."""
        return None

    def on_tick(self) -> None:
        """The timer of set_tick_period fired."""

    def on_queue_ready(self, queue_id: int) -> None:
        """A shared queue that this root registered holds data."""

    def on_foreign_function(self, function_id: int, arguments_size: int) -> None:
        """The host calls with arguments in the buffer FOREIGN_FUNCTION_ARGUMENTS."""


class HttpContext(Context):
    """One HTTP request and its response. Headers and bodies are readable while their own callbacks run."""

    request_headers: ClassVar = HeaderMap(MapType.HTTP_REQUEST_HEADERS)
    request_trailers: ClassVar = HeaderMap(MapType.HTTP_REQUEST_TRAILERS)
    response_headers: ClassVar = HeaderMap(MapType.HTTP_RESPONSE_HEADERS)
    response_trailers: ClassVar = HeaderMap(MapType.HTTP_RESPONSE_TRAILERS)
    request_body: ClassVar = buffers.request_body
    response_body: ClassVar = buffers.response_body

    def __init__(self, context_id: int, root: RootContext) -> None:
        self.context_id = context_id
        self.root = root

    def hand_over(self, successor: "HttpContext") -> None:
        """From now on `successor`, made with the same id and root, gets the callbacks of this stream.

        Calls that this context has made end as if it were deleted. The class of `successor` must be known when the
        module is built: see RootContext.further_contexts.
        """
        self.is_deleted = True
        live[self.context_id] = successor
        host.attach(self.context_id, successor, successor._wanted)

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        """The request's headers came; `end_of_stream` if neither body nor trailers follow."""
        return None

    def on_request_body(self, body_size: int, end_of_stream: bool) -> int | None:
        """A part of the request's body came; `body_size` bytes are buffered now."""
        return None

    def on_request_trailers(self, num_trailers: int) -> int | None:
        """The request's trailers came."""
        return None

    def on_request_metadata(self, num_elements: int) -> int | None:
        """An HTTP/2 METADATA frame of the request came."""
        return None

    def on_response_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        """The response's headers came; `end_of_stream` if neither body nor trailers follow."""
        return None

    def on_response_body(self, body_size: int, end_of_stream: bool) -> int | None:
        """A part of the response's body came; `body_size` bytes are buffered now."""
        return None

    def on_response_trailers(self, num_trailers: int) -> int | None:
        """The response's trailers came."""
        return None

    def on_response_metadata(self, num_elements: int) -> int | None:
        """An HTTP/2 METADATA frame of the response came."""
        return None


class StreamContext(Context):
    """One TCP connection."""

    downstream_data: ClassVar = buffers.downstream_data
    upstream_data: ClassVar = buffers.upstream_data

    def __init__(self, context_id: int, root: RootContext) -> None:
        self.context_id = context_id
        self.root = root

    def on_new_connection(self) -> int | None:
        """A connection was accepted."""
        return None

    def on_downstream_data(self, data_size: int, end_of_stream: bool) -> int | None:
        """The client sent data; `data_size` bytes are buffered now."""
        return None

    def on_downstream_connection_close(self, peer: int) -> None:
        """The client's side is closed; `peer` is an enums.PeerType."""

    def on_upstream_data(self, data_size: int, end_of_stream: bool) -> int | None:
        """The upstream sent data; `data_size` bytes are buffered now."""
        return None

    def on_upstream_connection_close(self, peer: int) -> None:
        """The upstream's side is closed; `peer` is an enums.PeerType."""


def wanted_callbacks(context_class: type[Context]) -> int:
    """The mask of the callbacks that the class overrides, computed once and kept on the class as `_wanted`."""
    if "_wanted" not in context_class.__dict__:
        kind = next(base for base in (RootContext, HttpContext, StreamContext) if issubclass(context_class, base))
        mask = 0
        for name, bit in _BIT.items():
            if hasattr(kind, name) and getattr(context_class, name) is not getattr(kind, name):
                mask |= bit
        context_class._wanted = mask
    return context_class._wanted


def callback_names(mask: int) -> list[str]:
    """The names of the callbacks in a mask, in the order of their bits."""
    return [name for name, bit in _BIT.items() if mask & bit]


def mask_of(*callbacks: str) -> int:
    """The mask with the bits of these callbacks."""
    mask = 0
    for name in callbacks:
        mask |= _BIT[name]
    return mask
