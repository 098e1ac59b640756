"""Properties and foreign functions."""

from typing import TYPE_CHECKING

from proxywasm.enums import Status

from ..errors import HostCallError
from .registry import host_call

if TYPE_CHECKING:
    from ..stream import HttpStream
    from ..vm import Vm

_REQUEST_ATTRIBUTES = {
    b"request\0path": b":path",
    b"request\0method": b":method",
    b"request\0scheme": b":scheme",
    b"request\0host": b":authority",
    b"request\0id": b"x-request-id",
    b"request\0useragent": b"user-agent",
    b"request\0referer": b"referer",
}
BUFFER_LIMIT_KEYS = (b"set_decoder_buffer_limit", b"set_encoder_buffer_limit")


@host_call
def get_property(vm: "Vm", path: bytes) -> bytes:
    """`path`: parts joined by NUL."""
    stream = vm.effective_stream()
    value = _plugin_property(vm, path)
    if value is None and stream is not None:
        value = stream.properties.get(path)
        if value is None:
            value = _stream_property(vm, stream, path)
    if value is None:
        raise HostCallError(Status.NOT_FOUND, f"no property {path!r}")
    return value


def _plugin_property(vm: "Vm", path: bytes) -> bytes | None:
    plugin = vm.plugin
    if path == b"plugin_name":
        return plugin.name.encode()
    if path == b"plugin_root_id":
        return plugin.root_id.encode()
    if path == b"plugin_vm_id":
        return plugin.vm_id.encode()
    return None


def _stream_property(vm: "Vm", stream: "HttpStream", path: bytes) -> bytes | None:
    """Higress answers route_name and cluster_name, stock Envoy the same two below "xds"."""
    bare = path if vm.target == "higress" else path.removeprefix(b"xds\0") if path.startswith(b"xds\0") else b""
    if bare == b"route_name":
        return stream.route_name().encode()
    if bare == b"cluster_name":
        cluster = stream.cluster()
        return cluster.name.encode() if cluster is not None else None
    if path in _REQUEST_ATTRIBUTES and stream.request.headers is not None:
        return stream.request.headers.get(_REQUEST_ATTRIBUTES[path])
    if path == b"response\0code" and stream.response.headers is not None:
        status = stream.response.headers.get(b":status") or b"0"
        return int(status).to_bytes(8, "little")
    return None


@host_call
def set_property(vm: "Vm", path: bytes, value: bytes) -> None:
    stream = vm.effective_stream()
    if stream is None:
        raise HostCallError(Status.NOT_FOUND, "a property is set on a stream only")
    if vm.target == "higress":
        _apply_special(stream, path, value)
    stream.properties[path] = value


def _apply_special(stream: "HttpStream", path: bytes, value: bytes) -> None:
    if path == b"clear_route_cache":
        stream.keep_route_cache = value == b"off"
    elif path in BUFFER_LIMIT_KEYS:
        if not value.isdigit():
            raise HostCallError(Status.BAD_ARGUMENT, f"the buffer limit {value!r} is no decimal number")
        direction = stream.request if path == BUFFER_LIMIT_KEYS[0] else stream.response
        direction.buffer_size_max = int(value)


@host_call
def call_foreign_function(vm: "Vm", name: bytes, argument: bytes) -> bytes:
    function = vm.gateway.foreign_functions.get(name.decode("utf-8", "replace")) or _BUILT_IN.get(name)
    if function is None:
        raise HostCallError(Status.NOT_FOUND, f"no foreign function {name!r}")
    return function(vm, argument)


def _clear_route_cache(vm: "Vm", argument: bytes) -> bytes:
    stream = vm.effective_stream()
    if stream is not None:
        stream.clear_route_cache()
    return b""


def _get_log_level(vm: "Vm", argument: bytes) -> bytes:
    if vm.target != "higress":
        raise HostCallError(Status.NOT_FOUND, "stock Envoy has no foreign function get_log_level")
    return int(vm.gateway.log_level).to_bytes(4, "little")


_BUILT_IN = {b"clear_route_cache": _clear_route_cache, b"get_log_level": _get_log_level}
