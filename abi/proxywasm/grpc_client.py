"""gRPC calls and streams by callback. Messages are bytes: serialising them is the plugin's business."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from . import _pending
from ._host import Pairs, Text, host
from .buffers import WHOLE_BUFFER_BYTES
from .contexts import Context, RootContext
from .enums import BufferType, GrpcStatus, MapType
from .errors import GrpcError

DEFAULT_TIMEOUT_MS = 5000

Callback: TypeAlias = Callable[[bytes | GrpcError], object]


class GrpcStream:
    """A subclass overrides what it wants to hear; `open` starts the stream, `send` and `close` use it.

    The methods `on_*` run with the context that opened the stream as the current one, and no more once it is gone.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.stream_id: int | None = None

    def open(self, upstream: Text, service: Text, method: Text, metadata: Pairs = ()) -> None:
        """Raises errors.BadArgument, errors.InternalFailure or errors.TooManyPendingCalls."""
        if len(_streams) >= _pending.MAX_PENDING_CALLS:
            _pending.make_room(_streams, _context_of)
        self.stream_id = host.grpc_stream(upstream, service, method, metadata)
        _streams[self.stream_id] = self

    def send(self, message: Text, end_of_stream: bool = False) -> None:
        host.grpc_send(self._open_id(), message, end_of_stream)

    def close(self) -> None:
        """Ends our side; on_close follows when the other side has ended too."""
        host.grpc_close(self._open_id())

    def cancel(self) -> None:
        """Resets the stream; nothing is heard of it any more."""
        stream_id = self._open_id()
        del _streams[stream_id]
        self.stream_id = None
        host.grpc_cancel(stream_id)

    def _open_id(self) -> int:
        if self.stream_id is None:
            raise ValueError("the gRPC stream is not open")
        return self.stream_id

    def on_initial_metadata(self, metadata: list[tuple[str, str]]) -> None:
        pass

    def on_message(self, message: bytes) -> None:
        pass

    def on_trailing_metadata(self, metadata: list[tuple[str, str]]) -> None:
        pass

    def on_close(self, status: int, message: str) -> None:
        """The stream has ended with this enums.GrpcStatus."""


class _Call(NamedTuple):
    context: Context
    callback: Callback


_calls: dict[int, _Call] = {}
_streams: dict[int, GrpcStream] = {}


def call(
    context: Context,
    upstream: Text,
    service: Text,
    method: Text,
    message: Text,
    callback: Callback,
    *,
    metadata: Pairs = (),
    timeout_ms: int = DEFAULT_TIMEOUT_MS,
) -> int:
    """A unary call. `callback` gets the message or a GrpcError, with `context` as the current context.

    It is not called when `context` is gone by then. Returns the call's id for `cancel`. Raises errors.BadArgument,
    errors.InternalFailure or errors.TooManyPendingCalls.
    """
    if len(_calls) >= _pending.MAX_PENDING_CALLS:
        _pending.make_room(_calls, _context_of)
    call_id = host.grpc_call(upstream, service, method, metadata, message, timeout_ms)
    _calls[call_id] = _Call(context, callback)
    return call_id


def cancel(call_id: int) -> None:
    """Gives up a unary call; its callback is not called."""
    if _calls.pop(call_id, None) is not None:
        host.grpc_cancel(call_id)


def _context_of(call: _Call | GrpcStream) -> Context:
    return call.context


def _enter(context: Context) -> bool:
    """Makes `context` the current one; false if it is gone."""
    if context.is_deleted:
        _pending.dropped_replies.increment(1)
        return False
    if not isinstance(context, RootContext):
        host.set_effective_context(context.context_id)
    return True


def on_initial_metadata(root_id: int, call_id: int, num_elements: int) -> None:
    stream = _streams.get(call_id)
    if stream is not None and _enter(stream.context):
        stream.on_initial_metadata(_metadata(MapType.GRPC_CALL_INITIAL_METADATA, num_elements))


def on_message(root_id: int, call_id: int, message_size: int) -> None:
    message = host.get_buffer_bytes(BufferType.GRPC_CALL_MESSAGE, 0, WHOLE_BUFFER_BYTES) or b""
    stream = _streams.get(call_id)
    if stream is not None:
        if _enter(stream.context):
            stream.on_message(message)
        return
    call = _calls.pop(call_id, None)
    if call is not None and _enter(call.context):
        call.callback(message)


def on_trailing_metadata(root_id: int, call_id: int, num_elements: int) -> None:
    stream = _streams.get(call_id)
    if stream is not None and _enter(stream.context):
        stream.on_trailing_metadata(_metadata(MapType.GRPC_CALL_TRAILING_METADATA, num_elements))


def on_close(root_id: int, call_id: int, status: int) -> None:
    """Ends a stream, or a unary call for which no message came."""
    stream = _streams.pop(call_id, None)
    call = _calls.pop(call_id, None)
    if stream is None and call is None:
        return  # a unary call whose message came, or something cancelled
    message = "" if status == GrpcStatus.OK else host.get_status()[1]
    if stream is not None:
        stream.stream_id = None
        if _enter(stream.context):
            stream.on_close(status, message)
    elif call is not None and _enter(call.context):
        call.callback(GrpcError(status, message))


def _metadata(map_type: MapType, num_elements: int) -> list[tuple[str, str]]:
    return host.get_header_map_pairs(map_type) if num_elements else []
