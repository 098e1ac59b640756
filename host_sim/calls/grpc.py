"""gRPC calls and streams."""

from typing import TYPE_CHECKING

from proxywasm.enums import Status

from ..codec import Pair
from ..errors import HostCallError
from ..protobuf import decode_message
from .registry import host_call

if TYPE_CHECKING:
    from ..vm import Vm

_ENVOY_GRPC, _CLUSTER_NAME = 1, 1  # fields of envoy.config.core.v3.GrpcService and of its EnvoyGrpc


def _cluster(vm: "Vm", upstream: bytes) -> str:
    """`upstream` is the name of a cluster, or a serialised GrpcService that names one."""
    try:
        service = decode_message(upstream)
        upstream = decode_message(service.bytes(_ENVOY_GRPC)).bytes(_CLUSTER_NAME)
    except ValueError:
        if upstream.decode("utf-8", "replace") not in vm.gateway.clusters:
            raise HostCallError(Status.PARSE_FAILURE, f"no cluster {upstream!r}") from None
    name = upstream.decode("utf-8", "replace")
    cluster = vm.gateway.clusters.get(name)
    if cluster is None or not cluster.endpoints:
        raise HostCallError(Status.INTERNAL_FAILURE, f"the cluster {name!r} has no endpoint")
    return name


@host_call
def grpc_call(
    vm: "Vm", upstream: bytes, service: bytes, method: bytes, metadata: list[Pair], message: bytes, timeout_ms: int
) -> int:
    cluster = _cluster(vm, upstream)
    names = service.decode("utf-8", "replace"), method.decode("utf-8", "replace")
    return vm.grpc_calls.start(vm.effective_root(), cluster, *names, metadata, message, max(timeout_ms, 0))


@host_call
def grpc_stream(vm: "Vm", upstream: bytes, service: bytes, method: bytes, metadata: list[Pair]) -> int:
    cluster = _cluster(vm, upstream)
    names = service.decode("utf-8", "replace"), method.decode("utf-8", "replace")
    return vm.grpc_calls.start(vm.effective_root(), cluster, *names, metadata, None, 0)


@host_call
def grpc_send(vm: "Vm", stream_id: int, message: bytes, end_stream: int) -> None:
    vm.grpc_calls.send(stream_id, message, bool(end_stream))


@host_call
def grpc_cancel(vm: "Vm", call_id: int) -> None:
    vm.grpc_calls.cancel(call_id)


@host_call
def grpc_close(vm: "Vm", call_id: int) -> None:
    vm.grpc_calls.close(call_id)
