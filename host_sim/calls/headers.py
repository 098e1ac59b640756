"""Header maps: which one a map type means now, whether it can be reached, and the operations.

As on Envoy, a stream's map is open from its callback on until the callback's action, or continue_stream, lets it go on;
then it is closed, for reading too. During on_log all that came is readable.
"""

from typing import TYPE_CHECKING

from proxywasm.enums import MapType, Status

from ..codec import Pair
from ..errors import HostCallError
from ..headers import HeaderMap
from .registry import host_call

if TYPE_CHECKING:
    from ..http_filter import HttpFilter
    from ..vm import Vm

_TYPE_MAX = MapType.HTTP_CALL_RESPONSE_TRAILERS


def _in_log(context: "HttpFilter", map_type: int) -> HeaderMap | None:
    """All that came, but the request's trailers."""
    if map_type == MapType.HTTP_REQUEST_HEADERS:
        return context.request.headers
    if map_type == MapType.HTTP_RESPONSE_HEADERS:
        return context.stream.downstream.headers
    if map_type == MapType.HTTP_RESPONSE_TRAILERS:
        return context.stream.downstream.trailers
    return None


def _reachable(context: "HttpFilter", map_type: int) -> HeaderMap | None:
    """From the map's callback on until it, or the request, is continued."""
    if map_type == MapType.HTTP_REQUEST_HEADERS:
        return context.request.headers if context.request.headers_open else None
    if map_type == MapType.HTTP_RESPONSE_HEADERS:
        return context.response.headers if context.response.headers_open else None
    if map_type == MapType.HTTP_REQUEST_TRAILERS:
        return context.request.trailers if context.request.trailers_open else None
    if map_type == MapType.HTTP_RESPONSE_TRAILERS:
        return context.response.trailers if context.response.trailers_open else None
    return None


def _of_callout(vm: "Vm", map_type: int) -> HeaderMap | None:
    reply = vm.effective_root().reply
    if map_type == MapType.HTTP_CALL_RESPONSE_HEADERS:
        return reply.headers
    if map_type == MapType.HTTP_CALL_RESPONSE_TRAILERS:
        return reply.trailers
    if map_type == MapType.GRPC_CALL_INITIAL_METADATA:
        return reply.grpc_initial_metadata
    if map_type == MapType.GRPC_CALL_TRAILING_METADATA:
        return reply.grpc_trailing_metadata
    return None


def _find(vm: "Vm", map_type: int) -> HeaderMap | None:
    """Where the map can be read now. Higress shows the request's headers until the end of the stream."""
    _check_type(map_type)
    if map_type >= MapType.GRPC_CALL_INITIAL_METADATA:
        return _of_callout(vm, map_type)
    context = vm.http_filter()
    if context is None:
        return None
    if context.logging:
        return _in_log(context, map_type)
    if map_type == MapType.HTTP_REQUEST_HEADERS and vm.target == "higress":
        return context.request.headers
    return _reachable(context, map_type)


def _check_type(map_type: int) -> None:
    if map_type > _TYPE_MAX:
        raise HostCallError(Status.BAD_ARGUMENT, f"no map type {map_type}")


def _writable(vm: "Vm", map_type: int) -> HeaderMap:
    """The map that can be changed now; BAD_ARGUMENT if there is none. Asking for it clears the route cache."""
    _check_type(map_type)
    context = vm.http_filter()
    found = None
    if context is not None:
        found = _reachable(context, map_type)
        if found is None and map_type == MapType.HTTP_REQUEST_TRAILERS:
            found = context.request.add_trailers()
        elif found is None and map_type == MapType.HTTP_RESPONSE_TRAILERS:
            found = context.response.add_trailers()
    if context is None or found is None:
        raise HostCallError(Status.BAD_ARGUMENT, f"map {map_type} cannot be changed now")
    if map_type == MapType.HTTP_REQUEST_HEADERS:
        context.clear_route_cache()
    return found


def _name(map_type: int, name: bytes) -> bytes:
    """`host` is the old name of `:authority`."""
    lower = name.lower()
    return b":authority" if lower == b"host" and map_type == MapType.HTTP_REQUEST_HEADERS else lower


@host_call
def get_header_map_size(vm: "Vm", map_type: int) -> int:
    """Of all names and values, in bytes; of a map that can be changed now, else BAD_ARGUMENT."""
    _check_type(map_type)
    context = vm.http_filter()
    found = _reachable(context, map_type) if context is not None else None
    if found is None:
        raise HostCallError(Status.BAD_ARGUMENT, f"map {map_type} cannot be changed now")
    return sum(len(name) + len(value) for name, value in found)


@host_call
def get_header_map_pairs(vm: "Vm", map_type: int) -> list[Pair]:
    """None for a map that is not available now: that is no error."""
    found = _find(vm, map_type)
    return found.pairs() if found is not None else []


@host_call
def set_header_map_pairs(vm: "Vm", map_type: int, pairs: list[Pair]) -> None:
    found = _writable(vm, map_type)
    found.assign([])
    for name, value in pairs:
        found.add(_name(map_type, name), value)


@host_call
def get_header_map_value(vm: "Vm", map_type: int, name: bytes) -> bytes:
    """BAD_ARGUMENT if the map is not available now, NOT_FOUND during on_log."""
    found = _find(vm, map_type)
    if found is None:
        context = vm.http_filter()
        status = Status.NOT_FOUND if context is not None and context.logging else Status.BAD_ARGUMENT
        raise HostCallError(status, f"map {map_type} is not available now")
    value = found.get(_name(map_type, name))
    if value is None:
        raise HostCallError(Status.NOT_FOUND, f"no header {name!r}")
    return value


@host_call
def add_header_map_value(vm: "Vm", map_type: int, name: bytes, value: bytes) -> None:
    _writable(vm, map_type).add(_name(map_type, name), value)


@host_call
def replace_header_map_value(vm: "Vm", map_type: int, name: bytes, value: bytes) -> None:
    _writable(vm, map_type).replace(_name(map_type, name), value)


@host_call
def remove_header_map_value(vm: "Vm", map_type: int, name: bytes) -> None:
    _writable(vm, map_type).remove(_name(map_type, name))
