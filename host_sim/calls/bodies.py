"""Buffers: bodies, configurations, replies of callouts."""

from typing import TYPE_CHECKING

from proxywasm.enums import BufferType, Status

from ..buffers import Buffer
from ..errors import HostCallError
from .registry import host_call

if TYPE_CHECKING:
    from ..vm import Vm


_STREAM_BUFFERS = (
    BufferType.HTTP_REQUEST_BODY,
    BufferType.HTTP_RESPONSE_BODY,
    BufferType.DOWNSTREAM_DATA,
    BufferType.UPSTREAM_DATA,
    BufferType.GRPC_CALL_MESSAGE,
)


def _buffer(vm: "Vm", buffer_type: int) -> Buffer:
    """Outside of their callbacks the stream's buffers are there, but empty and read-only, as on Envoy."""
    last = BufferType.REDIS_CALL_RESPONSE if vm.target == "higress" else BufferType.FOREIGN_FUNCTION_ARGUMENTS
    if buffer_type > last:
        raise HostCallError(Status.BAD_ARGUMENT, f"no buffer type {buffer_type}")
    buffer: Buffer | None = None
    stream = vm.effective_stream()
    if buffer_type == BufferType.HTTP_REQUEST_BODY and stream is not None:
        buffer = stream.request.body
    elif buffer_type == BufferType.HTTP_RESPONSE_BODY and stream is not None:
        buffer = stream.response.body
    elif buffer_type == BufferType.HTTP_CALL_RESPONSE_BODY and vm.callout is not None:
        buffer = vm.callout.body
    elif buffer_type == BufferType.REDIS_CALL_RESPONSE and vm.target == "higress" and vm.callout is not None:
        buffer = vm.callout.redis_reply
    elif buffer_type == BufferType.VM_CONFIGURATION:
        buffer = Buffer(vm.plugin.vm_configuration, writable=False)
    elif buffer_type == BufferType.PLUGIN_CONFIGURATION and vm.configuring:
        buffer = Buffer(vm.plugin.configuration, writable=False)
    if buffer is None and buffer_type in _STREAM_BUFFERS:
        return Buffer(writable=False)
    if buffer is None:
        raise HostCallError(Status.NOT_FOUND, f"buffer {buffer_type} is not available now")
    return buffer


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
