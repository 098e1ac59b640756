"""HTTP callouts by callback."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from . import _pending
from ._host import Pairs, Text, host
from .buffers import WHOLE_BUFFER_BYTES
from .contexts import Context, RootContext
from .enums import BufferType, MapType
from .errors import HttpCallFailed

DEFAULT_TIMEOUT_MS = 5000


class HttpResponse:
    """The response to a callout. It can be read only until the callback returns."""

    __slots__ = ("body_size", "num_headers", "num_trailers")

    def __init__(self, num_headers: int, body_size: int, num_trailers: int) -> None:
        self.num_headers = num_headers
        self.body_size = body_size
        self.num_trailers = num_trailers

    def status(self) -> int:
        """The status code; 0 if the response names none."""
        return int(self.header(":status") or 0)

    def header(self, name: str) -> str | None:
        return host.get_header_map_value(MapType.HTTP_CALL_RESPONSE_HEADERS, name)

    def headers(self) -> list[tuple[str, str]]:
        return host.get_header_map_pairs(MapType.HTTP_CALL_RESPONSE_HEADERS)

    def trailers(self) -> list[tuple[str, str]]:
        return host.get_header_map_pairs(MapType.HTTP_CALL_RESPONSE_TRAILERS)

    def body(self) -> bytes:
        return host.get_buffer_bytes(BufferType.HTTP_CALL_RESPONSE_BODY, 0, WHOLE_BUFFER_BYTES) or b""

    def __repr__(self) -> str:
        return f"HttpResponse({self.num_headers} headers, {self.body_size} bytes, {self.num_trailers} trailers)"


Callback: TypeAlias = Callable[[HttpResponse | HttpCallFailed], object]


class _Call(NamedTuple):
    context: Context
    callback: Callback


_calls: dict[int, _Call] = {}


def call(
    context: Context,
    upstream: Text,
    headers: Pairs,
    callback: Callback,
    *,
    body: Text = b"",
    trailers: Pairs = (),
    timeout_ms: int = DEFAULT_TIMEOUT_MS,
) -> int:
    """Sends a request to a cluster; `headers` must hold `:method`, `:path` and `:authority`.

    `callback` gets the HttpResponse, or HttpCallFailed if none came, with `context` as the current context. It is not
    called when `context` is gone by then. Returns the call's id. Raises errors.BadArgument (unknown cluster, missing
    header), errors.InternalFailure (could not be sent) or errors.TooManyPendingCalls.
    """
    if len(_calls) >= _pending.MAX_PENDING_CALLS:
        _pending.make_room(_calls, lambda call: call.context)
    call_id = host.http_call(upstream, headers, body, trailers, timeout_ms)
    _calls[call_id] = _Call(context, callback)
    return call_id


def on_response(root_id: int, call_id: int, num_headers: int, body_size: int, num_trailers: int) -> None:
    """The host's callback on_http_call_response; no headers means that the call failed."""
    call = _calls.pop(call_id, None)
    if call is None or call.context.is_deleted:
        _pending.dropped_replies.increment(1)
        return
    result: HttpResponse | HttpCallFailed
    if num_headers:
        result = HttpResponse(num_headers, body_size, num_trailers)
    else:
        code, message = host.get_status()
        result = HttpCallFailed(message or f"status {code}")
    if not isinstance(call.context, RootContext):
        host.set_effective_context(call.context.context_id)
    call.callback(result)
