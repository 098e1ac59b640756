"""What a plugin does to its stream: go on, close, answer, choose the upstream's host."""

import ipaddress
from typing import TYPE_CHECKING

from proxywasm.enums import Status, StreamType

from ..cluster import endpoint_pair
from ..codec import Pair
from ..errors import HostCallError
from ..local_reply import LocalReply
from .registry import host_call

if TYPE_CHECKING:
    from ..vm import Vm

LOCAL_REPLY_STATUSES = range(100, 1000)


@host_call
def continue_stream(vm: "Vm", stream_type: int) -> None:
    """In a context without such a stream nothing happens. The request's maps and body are out of reach at once."""
    if stream_type == StreamType.UPSTREAM:
        raise HostCallError(Status.UNIMPLEMENTED, "the upstream's data cannot be continued")
    if stream_type == StreamType.DOWNSTREAM:
        connection = vm.tcp_filter()
        if connection is not None:
            vm.after_callback(lambda: connection.connection.proceed(connection))
        return
    _check_type(stream_type)
    context = vm.http_filter()
    if context is not None:
        direction = context.request if stream_type == StreamType.HTTP_REQUEST else context.response
        context.request.close_maps()  # those of the request, whichever direction it is: Envoy's continueStream
        vm.after_callback(lambda: context.proceed(direction))


@host_call
def close_stream(vm: "Vm", stream_type: int) -> None:
    """In a context without such a stream nothing happens."""
    _check_type(stream_type)
    if stream_type in (StreamType.DOWNSTREAM, StreamType.UPSTREAM):
        connection = vm.tcp_filter()
        if connection is not None:
            reason = f"wasm_{StreamType(stream_type).name.lower()}_close"
            vm.after_callback(lambda: connection.connection.close(reason))
        return
    stream = vm.effective_stream()
    if stream is not None:
        vm.after_callback(lambda: stream.reset("closed by the plugin"))


def _check_type(stream_type: int) -> None:
    if stream_type not in tuple(StreamType):
        raise HostCallError(Status.BAD_ARGUMENT, f"no stream type {stream_type}")


@host_call
def send_local_response(
    vm: "Vm", status_code: int, details: bytes, body: bytes, headers: list[Pair], grpc_status: int
) -> None:
    """`grpc_status` (-1: none) matters to gRPC clients only. In a context without a stream nothing happens."""
    if status_code not in LOCAL_REPLY_STATUSES:
        raise HostCallError(Status.BAD_ARGUMENT, f"no HTTP status {status_code}")
    stream = vm.effective_stream()
    if stream is not None:
        named = tuple((name.lower(), value) for name, value in headers)
        reply = LocalReply(status_code, details.decode("utf-8", "replace"), body, named, True, grpc_status)
        vm.after_callback(lambda: stream.reply(reply))


@host_call
def get_status(vm: "Vm") -> tuple[int, bytes]:
    """Of the last callout that failed; its message only while the callback runs, the code from then on."""
    root = vm.effective_root()
    return root.status_code, root.status_message


@host_call
def inject_encoded_data_to_filter_chain(vm: "Vm", body: bytes, end_stream: int) -> None:
    stream = vm.effective_stream()
    if stream is not None:
        vm.after_callback(lambda: stream.inject_response_data(body, bool(end_stream)))


@host_call
def get_upstream_hosts(vm: "Vm") -> list[Pair]:
    stream = vm.effective_stream()
    cluster = stream.cluster() if stream is not None else None
    return [endpoint_pair(endpoint) for endpoint in cluster.endpoints] if cluster is not None else []


@host_call
def set_upstream_override_host(vm: "Vm", address: bytes) -> None:
    """Strict: the request goes to this endpoint or fails. After the request headers went on, it has no effect."""
    text = address.decode("utf-8", "replace")
    if not _is_address(text):
        raise HostCallError(Status.BAD_ARGUMENT, f"{text!r} is no ip:port")
    stream = vm.effective_stream()
    if stream is not None:
        stream.override_host = text


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return port.isdecimal() and int(port) < 65536
