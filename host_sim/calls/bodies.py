"""Buffers: bodies, TCP data, configurations, replies of callouts."""

from typing import TYPE_CHECKING

from proxywasm.enums import BufferType, Status

from ..buffers import Buffer
from ..errors import HostCallError
from .registry import host_call

if TYPE_CHECKING:
    from ..vm import Vm

_NOTHING = Buffer(writable=False)
_ENVOY_TYPE_MAX = BufferType.FOREIGN_FUNCTION_ARGUMENTS
_HIGRESS_TYPE_MAX = BufferType.REDIS_CALL_RESPONSE


def _buffer(vm: "Vm", buffer_type: int) -> Buffer:
    """A body that is not there now is an empty buffer; a configuration or callout's body is NOT_FOUND."""
    found: Buffer | None = _NOTHING
    if buffer_type == BufferType.HTTP_REQUEST_BODY or buffer_type == BufferType.HTTP_RESPONSE_BODY:
        context = vm.http_filter()
        if context is not None:
            direction = context.request if buffer_type == BufferType.HTTP_REQUEST_BODY else context.response
            found = direction.body if direction.body is not None else _NOTHING
    elif buffer_type == BufferType.REDIS_CALL_RESPONSE and vm.target == "higress":
        found = vm.effective_root().reply.redis_reply or _NOTHING
    elif buffer_type == BufferType.HTTP_CALL_RESPONSE_BODY:
        found = vm.effective_root().reply.body
    elif buffer_type == BufferType.GRPC_CALL_MESSAGE:
        found = vm.effective_root().reply.grpc_message or _NOTHING
    elif buffer_type == BufferType.DOWNSTREAM_DATA or buffer_type == BufferType.UPSTREAM_DATA:
        connection = vm.tcp_filter()
        if connection is not None:
            is_downstream = buffer_type == BufferType.DOWNSTREAM_DATA
            found = connection.from_downstream if is_downstream else connection.from_upstream
    elif buffer_type == BufferType.VM_CONFIGURATION:
        found = Buffer(vm.plugin.vm_configuration, writable=False)
    elif buffer_type == BufferType.PLUGIN_CONFIGURATION:
        root = vm.effective_root()
        found = Buffer(root.plugin.configuration, writable=False) if root.is_configuring else None
    elif buffer_type > (_HIGRESS_TYPE_MAX if vm.target == "higress" else _ENVOY_TYPE_MAX):
        raise HostCallError(Status.BAD_ARGUMENT, f"no buffer type {buffer_type}")
    if found is None:
        raise HostCallError(Status.NOT_FOUND, f"buffer {buffer_type} is not available now")
    return found


@host_call
def get_buffer_bytes(vm: "Vm", buffer_type: int, start: int, size_max: int) -> bytes:
    if start + size_max > 0xFFFF_FFFF and start:
        size_max = 0xFFFF_FFFF - start
    return _buffer(vm, buffer_type).get(start, size_max)


@host_call
def set_buffer_bytes(vm: "Vm", buffer_type: int, start: int, size: int, data: bytes) -> None:
    _buffer(vm, buffer_type).set(start, size, data)


@host_call
def get_buffer_status(vm: "Vm", buffer_type: int) -> tuple[int, int]:
    """(size in bytes, flags); no flag is in use."""
    return len(_buffer(vm, buffer_type)), 0
