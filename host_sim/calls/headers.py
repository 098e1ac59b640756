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
    from ..direction import Direction
    from ..stream import HttpStream
    from ..vm import Vm

_OF_REQUEST = (MapType.HTTP_REQUEST_HEADERS, MapType.HTTP_REQUEST_TRAILERS)
_OF_RESPONSE = (MapType.HTTP_RESPONSE_HEADERS, MapType.HTTP_RESPONSE_TRAILERS)
_TRAILERS = (MapType.HTTP_REQUEST_TRAILERS, MapType.HTTP_RESPONSE_TRAILERS)


def _direction(stream: "HttpStream | None", map_type: int) -> "Direction | None":
    if stream is None or map_type not in _OF_REQUEST + _OF_RESPONSE:
        return None
    return stream.request if map_type in _OF_REQUEST else stream.response


def _open(vm: "Vm", map_type: int) -> HeaderMap | None:
    """The map if it is open now."""
    if map_type == MapType.HTTP_CALL_RESPONSE_HEADERS:
        return vm.callout.headers if vm.callout is not None else None
    if map_type == MapType.HTTP_CALL_RESPONSE_TRAILERS:
        return vm.callout.trailers if vm.callout is not None else None
    direction = _direction(vm.effective_stream(), map_type)
    if direction is None:
        return None
    if map_type in _TRAILERS:
        return direction.trailers if direction.trailers_open else None
    return direction.headers if direction.headers_open else None


def _check_type(map_type: int) -> None:
    if map_type not in tuple(MapType):
        raise HostCallError(Status.BAD_ARGUMENT, f"no map type {map_type}")


def _readable(vm: "Vm", map_type: int) -> HeaderMap | None:
    _check_type(map_type)
    stream = vm.effective_stream()
    if stream is None or not stream.logging:
        return _open(vm, map_type)
    direction = _direction(stream, map_type)
    if direction is None:
        return None
    return direction.trailers if map_type in _TRAILERS else direction.headers


def _writable(vm: "Vm", map_type: int) -> HeaderMap:
    """In the callback for the end of a body, trailers that did not come are made."""
    _check_type(map_type)
    found = _open(vm, map_type)
    stream = vm.effective_stream()
    direction = _direction(stream, map_type)
    if found is None and direction is not None and map_type in _TRAILERS:
        found = direction.add_trailers()
    if found is None:
        raise HostCallError(Status.BAD_ARGUMENT, f"map {map_type} cannot be changed now")
    if stream is not None and map_type == MapType.HTTP_REQUEST_HEADERS:
        stream.request_headers_changed()
    return found


def _name(map_type: int, name: bytes) -> bytes:
    """`host` is the old name of `:authority`."""
    lower = name.lower()
    return b":authority" if lower == b"host" and map_type == MapType.HTTP_REQUEST_HEADERS else lower


@host_call
def get_header_map_size(vm: "Vm", map_type: int) -> int:
    """Of all names and values, in bytes."""
    _check_type(map_type)
    found = _open(vm, map_type)
    if found is None:
        raise HostCallError(Status.BAD_ARGUMENT, f"map {map_type} is not available now")
    return sum(len(name) + len(value) for name, value in found)


@host_call
def get_header_map_pairs(vm: "Vm", map_type: int) -> list[Pair]:
    """A map that is not available now has no pairs."""
    found = _readable(vm, map_type)
    return found.pairs() if found is not None else []


@host_call
def set_header_map_pairs(vm: "Vm", map_type: int, pairs: list[Pair]) -> None:
    found = _writable(vm, map_type)
    found.assign([])
    for name, value in pairs:
        found.add(_name(map_type, name), value)


@host_call
def get_header_map_value(vm: "Vm", map_type: int, name: bytes) -> bytes:
    """A map that is not available now is BAD_ARGUMENT, during on_log NOT_FOUND."""
    found = _readable(vm, map_type)
    if found is None:
        stream = vm.effective_stream()
        status = Status.NOT_FOUND if stream is not None and stream.logging else Status.BAD_ARGUMENT
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
