"""Header maps: which one a map type means now, whether it can be changed, and the operations."""

from typing import TYPE_CHECKING

from proxywasm.enums import MapType, Status

from ..codec import Pair
from ..errors import HostCallError
from ..headers import HeaderMap
from .registry import host_call

if TYPE_CHECKING:
    from ..stream import HttpStream
    from ..vm import Vm

_REQUEST_MAPS = (MapType.HTTP_REQUEST_HEADERS, MapType.HTTP_REQUEST_TRAILERS)


def _stream_map(stream: "HttpStream", map_type: int) -> HeaderMap | None:
    if map_type == MapType.HTTP_REQUEST_HEADERS:
        return stream.request.headers
    if map_type == MapType.HTTP_RESPONSE_HEADERS:
        return stream.response.headers
    if map_type == MapType.HTTP_REQUEST_TRAILERS:
        return stream.request.trailers
    if map_type == MapType.HTTP_RESPONSE_TRAILERS:
        return stream.response.trailers
    return None


def _readable(vm: "Vm", map_type: int) -> HeaderMap:
    """A map that is not available now is BAD_ARGUMENT, during on_log NOT_FOUND."""
    found: HeaderMap | None = None
    stream = vm.effective_stream()
    if map_type == MapType.HTTP_CALL_RESPONSE_HEADERS:
        found = vm.callout.headers if vm.callout is not None else None
    elif map_type == MapType.HTTP_CALL_RESPONSE_TRAILERS:
        found = vm.callout.trailers if vm.callout is not None else None
    elif stream is not None:
        found = _stream_map(stream, map_type)
    if found is None:
        status = Status.NOT_FOUND if stream is not None and stream.logging else Status.BAD_ARGUMENT
        raise HostCallError(status, f"map {map_type} is not available now")
    return found


def _writable(vm: "Vm", map_type: int) -> HeaderMap:
    """Headers until they are continued, trailers likewise; nothing during on_log."""
    stream = vm.effective_stream()
    found = _stream_map(stream, map_type) if stream is not None else None
    if stream is None or found is None:
        raise HostCallError(Status.BAD_ARGUMENT, f"map {map_type} cannot be changed now")
    direction = stream.request if map_type in _REQUEST_MAPS else stream.response
    trailers = map_type in (MapType.HTTP_REQUEST_TRAILERS, MapType.HTTP_RESPONSE_TRAILERS)
    if stream.logging or (direction.trailers_sent if trailers else direction.headers_sent):
        raise HostCallError(Status.BAD_ARGUMENT, f"map {map_type} was continued already")
    if map_type == MapType.HTTP_REQUEST_HEADERS:
        stream.request_headers_changed()
    return found


@host_call
def get_header_map_size(vm: "Vm", map_type: int) -> int:
    """Of the serialised pairs, in bytes."""
    return 4 + sum(10 + len(name) + len(value) for name, value in _readable(vm, map_type))


@host_call
def get_header_map_pairs(vm: "Vm", map_type: int) -> list[Pair]:
    return _readable(vm, map_type).pairs()


@host_call
def set_header_map_pairs(vm: "Vm", map_type: int, pairs: list[Pair]) -> None:
    _writable(vm, map_type).assign(pairs)


@host_call
def get_header_map_value(vm: "Vm", map_type: int, name: bytes) -> bytes:
    value = _readable(vm, map_type).get(name)
    if value is None:
        raise HostCallError(Status.NOT_FOUND, f"no header {name!r}")
    return value


@host_call
def add_header_map_value(vm: "Vm", map_type: int, name: bytes, value: bytes) -> None:
    _writable(vm, map_type).add(name, value)


@host_call
def replace_header_map_value(vm: "Vm", map_type: int, name: bytes, value: bytes) -> None:
    _writable(vm, map_type).replace(name, value)


@host_call
def remove_header_map_value(vm: "Vm", map_type: int, name: bytes) -> None:
    _writable(vm, map_type).remove(name)
