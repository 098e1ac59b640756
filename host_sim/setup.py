"""From what a test or a demo writes down to the objects of a gateway."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from .cluster import Cluster, Endpoint
from .errors import LeftoverError, LoadError, SimulatorError
from .guest import GuestFactory
from .http_filter import HttpFilter
from .native_guest import NativeFactory
from .redis_backend import RedisBackend, TcpRedis
from .tcp_filter import TcpFilter
from .vm import Vm

GuestSource: TypeAlias = str | Path | bytes | GuestFactory
Clusters: TypeAlias = Mapping[str, Sequence[Endpoint | str]]


def guest_factory(source: GuestSource, fuel: bool = False) -> GuestFactory:
    """A path to a .wasm (or its bytes), "module:Class" for the native guest, or a factory as it is.

    A factory that is made once and used for many simulators compiles only once.
    """
    if isinstance(source, str) and ":" in source and not source.endswith(".wasm"):
        if fuel:
            raise LoadError("the native guest does not count instructions")
        return NativeFactory(source)
    if isinstance(source, str | Path | bytes):
        from .wasm_guest import WasmFactory  # only here, so that the native guest works without wasmtime

        return WasmFactory(source, fuel=fuel)
    return source


def configuration_bytes(configuration: Mapping[str, Any] | str | bytes) -> bytes:
    if isinstance(configuration, bytes):
        return configuration
    return (configuration if isinstance(configuration, str) else json.dumps(configuration)).encode()


def make_clusters(clusters: Clusters) -> dict[str, Cluster]:
    """Addresses stand for healthy endpoints."""
    return {
        name: Cluster(name, [Endpoint(item) if isinstance(item, str) else item for item in endpoints])
        for name, endpoints in clusters.items()
    }


def redis_backend(backend: RedisBackend | str | None) -> RedisBackend | None:
    """A backend as it is; "redis://host:port" is a server."""
    if not isinstance(backend, str):
        return backend
    parts = urlsplit(backend)
    if parts.scheme != "redis" or not parts.hostname:
        raise SimulatorError(f"a Redis backend is redis://host:port, not {backend!r}")
    return TcpRedis(parts.hostname, parts.port or 6379)


def open_streams(vm: Vm) -> list[str]:
    """What each open stream and connection shows of itself."""
    owners = [context.stream for context in vm.contexts.values() if isinstance(context, HttpFilter)]
    connections = [context.connection for context in vm.contexts.values() if isinstance(context, TcpFilter)]
    return list(dict.fromkeys([*map(repr, owners), *map(repr, connections)]))


def finish_vm(vm: Vm) -> None:
    """End the plugin; LeftoverError if anything is left: an open or paused stream, a pending call, a context."""
    left = open_streams(vm)
    if vm.pending_calls:
        left.append(f"{vm.pending_calls} pending calls")
    vm.finish()
    if not left and vm.contexts:
        left.append(f"contexts {sorted(vm.contexts)}")
    if left:
        raise LeftoverError("left at the end: " + ", ".join(left))
