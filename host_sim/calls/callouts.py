"""HTTP callouts."""

from typing import TYPE_CHECKING

from proxywasm.enums import Status

from ..codec import Pair
from ..errors import HostCallError
from .registry import host_call

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
    if not vm.gateway.clusters[cluster].endpoints:
        raise HostCallError(Status.INTERNAL_FAILURE, f"the cluster {cluster!r} has no endpoint")
    return vm.http_calls.start(vm.effective_root(), cluster, headers, body, trailers, timeout_ms)
