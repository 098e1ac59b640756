"""Higress's Redis calls."""

from typing import TYPE_CHECKING

from proxywasm.enums import Status

from ..errors import HostCallError
from ..redis_backend import RedisBackend
from ..redis_client import BUFFER_FLUSH_TIMEOUT_MS, BUFFER_SIZE_MAX_BYTES, RedisClient, RedisSettings, parse_cluster
from .registry import host_call

if TYPE_CHECKING:
    from ..vm import Vm


def _backend(vm: "Vm", name: str) -> RedisBackend:
    if name not in vm.gateway.redis:
        raise HostCallError(Status.BAD_ARGUMENT, f"no Redis cluster {name!r}")
    backend = vm.gateway.redis[name]
    if backend is None:
        raise HostCallError(Status.INTERNAL_FAILURE, f"the Redis cluster {name!r} has no host")
    return backend


@host_call
def redis_init(vm: "Vm", cluster: bytes, username: bytes, password: bytes, timeout_ms: int) -> None:
    """The cluster may carry ?db=N&buffer_flush_timeout=MS&max_buffer_size_before_flush=BYTES."""
    name, numbers = parse_cluster(cluster.decode("utf-8", "replace"))
    backend = _backend(vm, name)
    if timeout_ms < 0:
        raise HostCallError(Status.BAD_ARGUMENT, f"the timeout {timeout_ms} ms is negative")
    settings = RedisSettings(
        username=username.decode("utf-8", "replace"),
        password=password.decode("utf-8", "replace"),
        database=numbers.get("db", 0),
        timeout_ms=timeout_ms,
        flush_timeout_ms=numbers.get("buffer_flush_timeout", BUFFER_FLUSH_TIMEOUT_MS),
        buffer_size_max_bytes=numbers.get("max_buffer_size_before_flush", BUFFER_SIZE_MAX_BYTES),
    )
    known = vm.redis_clients.get(name)
    if known is None or known.settings != settings:
        if known is not None:
            known.disconnect()
        vm.redis_clients[name] = RedisClient(backend, settings, vm.gateway.scheduler)


@host_call
def redis_call(vm: "Vm", cluster: bytes, query: bytes) -> int:
    """Takes the bare cluster name; it must have been named in redis_init."""
    name = cluster.decode("utf-8", "replace")
    _backend(vm, name)
    client = vm.redis_clients.get(name)
    if client is None:
        raise HostCallError(Status.BAD_ARGUMENT, f"redis_init was not called for {name!r}")
    return vm.redis_calls.start(vm.effective_root(), client, query)
