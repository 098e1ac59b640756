"""What a plugin does to its stream: go on, close, answer, choose the upstream's host."""

import ipaddress
from typing import TYPE_CHECKING

from proxywasm.enums import Status, StreamType

from ..cluster import endpoint_pair
from ..codec import Pair
from ..errors import HostCallError
from ..stream import HttpStream, LocalReply
from .registry import host_call

if TYPE_CHECKING:
    from ..vm import Vm

LOCAL_REPLY_STATUSES = range(100, 1000)


def _stream(vm: "Vm", status: Status = Status.BAD_ARGUMENT) -> HttpStream:
    stream = vm.effective_stream()
    if stream is None:
        raise HostCallError(status, "the effective context is no stream")
    return stream


@host_call
def continue_stream(vm: "Vm", stream_type: int) -> None:
    if stream_type not in (StreamType.HTTP_REQUEST, StreamType.HTTP_RESPONSE):
        raise HostCallError(Status.UNIMPLEMENTED, f"continue_stream({stream_type})")
    stream = _stream(vm)
    direction = stream.request if stream_type == StreamType.HTTP_REQUEST else stream.response
    stream.request.close_maps()  # those of the request, whichever direction it is: Envoy's continueStream
    vm.after_callback(lambda: stream.proceed(direction))


@host_call
def close_stream(vm: "Vm", stream_type: int) -> None:
    if stream_type not in tuple(StreamType):
        raise HostCallError(Status.BAD_ARGUMENT, f"no stream type {stream_type}")
    stream = _stream(vm)
    vm.after_callback(lambda: stream.reset("closed by the plugin"))


@host_call
def send_local_response(
    vm: "Vm", status_code: int, details: bytes, body: bytes, headers: list[Pair], grpc_status: int
) -> None:
    """`grpc_status` (-1: none) matters to gRPC clients only, which are not simulated yet."""
    if status_code not in LOCAL_REPLY_STATUSES:
        raise HostCallError(Status.BAD_ARGUMENT, f"no HTTP status {status_code}")
    stream = _stream(vm)
    named = [(name.lower(), value) for name, value in headers]
    reply = LocalReply(status_code, details.decode("utf-8", "replace"), body, tuple(named), by_filter=True)
    vm.after_callback(lambda: stream.reply(reply))


@host_call
def get_status(vm: "Vm") -> tuple[int, bytes]:
    """Of the callout whose callback runs: (0, ""), or (11, "reset") when it failed."""
    return vm.callout.status if vm.callout is not None else (0, b"")


@host_call
def inject_encoded_data_to_filter_chain(vm: "Vm", body: bytes, end_stream: int) -> None:
    stream = _stream(vm)
    vm.after_callback(lambda: stream.inject_response_data(body, bool(end_stream)))


@host_call
def get_upstream_hosts(vm: "Vm") -> list[Pair]:
    cluster = _stream(vm).cluster()
    return [endpoint_pair(endpoint) for endpoint in cluster.endpoints] if cluster is not None else []


@host_call
def set_upstream_override_host(vm: "Vm", address: bytes) -> None:
    """Strict: the request goes to this endpoint or fails. After the request headers went on, it has no effect."""
    stream = _stream(vm)
    text = address.decode("utf-8", "replace")
    if not _is_address(text):
        raise HostCallError(Status.BAD_ARGUMENT, f"{text!r} is no ip:port")
    stream.override_host = text


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return port.isdecimal() and int(port) < 65536
