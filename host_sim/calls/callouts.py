"""HTTP callouts; gRPC answers UNIMPLEMENTED until the simulator has gRPC upstreams."""

from typing import TYPE_CHECKING, Any

from proxywasm.enums import Status

from ..codec import Pair
from ..errors import HostCallError
from .registry import CALLS, host_call

if TYPE_CHECKING:
    from ..vm import Vm

REQUIRED_HEADERS = (b":method", b":path", b":authority")


@host_call
def http_call(
    vm: "Vm", upstream: bytes, headers: list[Pair], body: bytes, trailers: list[Pair], timeout_ms: int
) -> int:
    cluster = upstream.decode("utf-8", "replace")
    if timeout_ms < 0:
        raise HostCallError(Status.BAD_ARGUMENT, f"the timeout {timeout_ms} ms is negative")
    if cluster not in vm.gateway.clusters:
        raise HostCallError(Status.BAD_ARGUMENT, f"no cluster {cluster!r}")
    names = {name.lower() for name, _ in headers}
    missing = [name.decode() for name in REQUIRED_HEADERS if name not in names]
    if missing:
        raise HostCallError(Status.BAD_ARGUMENT, f"without {', '.join(missing)}")
    return vm.start_http_call(cluster, headers, body, trailers, timeout_ms)


def _unimplemented(vm: "Vm", *arguments: Any) -> Any:
    raise HostCallError(Status.UNIMPLEMENTED, "gRPC is not simulated")


for _name in ("grpc_call", "grpc_stream", "grpc_send", "grpc_cancel", "grpc_close"):
    CALLS[f"proxy_{_name}"] = _unimplemented
