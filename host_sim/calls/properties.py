"""Properties: what the host tells, and what plugins leave on a stream."""

from typing import TYPE_CHECKING

from proxywasm.enums import Status

from ..contexts import RootContext
from ..errors import HostCallError
from .attributes import attribute
from .registry import host_call

if TYPE_CHECKING:
    from ..http_filter import HttpFilter
    from ..vm import Vm

BUFFER_LIMIT_KEYS = (b"set_decoder_buffer_limit", b"set_encoder_buffer_limit")
BUFFER_LIMIT_MAX = 0xFFFF_FFFF
SPAN_TAG_PREFIX = b"trace_span_tag."
REBUILD_KEY = b"wasm_need_rebuild"


@host_call
def get_property(vm: "Vm", path: bytes) -> bytes:
    """`path`: parts joined by NUL. A property that was set is found by a path of one part only, as on Envoy."""
    if not path:
        raise HostCallError(Status.SERIALIZATION_FAILURE, "an empty path")
    value = _of_plugin(vm, path)
    context = vm.http_filter()
    if value is None and context is not None:
        value = _of_route(vm, context, path)
        if value is None:
            value = attribute(context, path)
    if value is None and b"\0" not in path:
        value = _properties(vm).get(path)
    if value is None:
        raise HostCallError(Status.NOT_FOUND, f"no property {path!r}")
    return value


def _properties(vm: "Vm") -> dict[bytes, bytes]:
    """Of the stream or connection; an empty one outside."""
    context, connection = vm.http_filter(), vm.tcp_filter()
    if context is not None:
        return context.stream.properties
    return connection.connection.properties if connection is not None else {}


def _of_plugin(vm: "Vm", path: bytes) -> bytes | None:
    plugin = vm.effective_root().plugin
    if path == b"plugin_name":
        return plugin.name.encode()
    if path == b"plugin_root_id":
        return plugin.root_id.encode()
    if path == b"plugin_vm_id":
        return plugin.vm_id.encode()
    if path == b"plugin_vm_memory" and vm.target == "higress":
        return (vm.guest.memory_size or 0).to_bytes(8, "little")
    return None


def _of_route(vm: "Vm", context: "HttpFilter", path: bytes) -> bytes | None:
    """Higress answers route_name and cluster_name, stock Envoy the same two below "xds"."""
    stream = context.stream
    if vm.target == "envoy":
        route, cluster = stream.known_route() if path in (b"xds\0route_name", b"xds\0cluster_name") else (None, None)
    elif path in (b"route_name", b"cluster_name"):
        route, cluster = stream.route(), stream.cluster()
    else:
        return None
    if path.endswith(b"route_name"):
        return route.name.encode() if route is not None else None
    return cluster.name.encode() if cluster is not None else None


@host_call
def set_property(vm: "Vm", path: bytes, value: bytes) -> None:
    context = vm.context()
    if context is None or isinstance(context, RootContext):
        raise HostCallError(Status.NOT_FOUND, "a property is set on a stream only")
    if vm.target == "higress" and _is_done(vm, path, value):
        return
    declared = context.root.declared.get(path)
    properties = _properties(vm)
    if declared is not None and declared.read_only and path in properties:
        raise HostCallError(Status.BAD_ARGUMENT, f"the property {path!r} is read-only")
    properties[path] = value


def _is_done(vm: "Vm", path: bytes, value: bytes) -> bool:
    """Do what Higress does for its special keys; True if nothing is kept. A limit that is no number is ignored."""
    if path == REBUILD_KEY:
        vm.rebuild_wanted = True
        return True
    context = vm.http_filter()
    if context is None:
        return False
    if path.startswith(SPAN_TAG_PREFIX):
        context.stream.span_tags[path.removeprefix(SPAN_TAG_PREFIX).decode("utf-8", "replace")] = value
        return True
    if path == b"clear_route_cache":
        context.keep_route_cache = value == b"off"
    elif path in BUFFER_LIMIT_KEYS and value.isdigit() and int(value) <= BUFFER_LIMIT_MAX:
        context.stream.set_buffer_limit(path == BUFFER_LIMIT_KEYS[0], int(value))
    return False
