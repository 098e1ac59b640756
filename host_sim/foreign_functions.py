"""The foreign functions that the targets bring along.

Those of Envoy 1.40 are all here but `sign` and `verify_signature` (NOT_FOUND here). There is no CEL: `expr_create`
answers as Envoy does for an expression that it cannot parse. Of `set_envoy_filter_state` the keys are known that Envoy
itself reads; that a value has an effect is not simulated, `HttpStream.filter_state` shows it.
"""

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from proxywasm.enums import Status

from .abi import Target
from .contexts import DeclaredProperty
from .errors import HostCallError
from .protobuf import Message, decode_message

if TYPE_CHECKING:
    from .vm import Vm

    ForeignFunction: TypeAlias = Callable[[Vm, bytes], bytes]

UNCOMPRESSED_SIZE_MAX = 256 * 1024 * 1024
_TOKEN_SIZE = 4
# Of envoy.source.extensions.common.wasm.DeclarePropertyArguments and of SetEnvoyFilterStateArguments
_NAME, _READ_ONLY = 1, 2
_PATH, _VALUE = 1, 2
FILTER_STATE_KEYS = frozenset(
    {
        "envoy.network.application_protocols",
        "envoy.network.upstream_server_name",
        "envoy.network.upstream_subject_alt_names",
        "envoy.tcp_proxy.cluster",
        "envoy.tcp_proxy.per_connection_idle_timeout_ms",
        "envoy.upstream.dynamic_host",
        "envoy.upstream.dynamic_port",
        "envoy.hash_key",
        "envoy.string",
    }
)


def _arguments(argument: bytes) -> Message:
    try:
        return decode_message(argument)
    except ValueError as error:
        raise HostCallError(Status.BAD_ARGUMENT, f"the argument is no such message: {error}") from error


def _compress(vm: "Vm", argument: bytes) -> bytes:
    return zlib.compress(argument)


def _uncompress(vm: "Vm", argument: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(argument, UNCOMPRESSED_SIZE_MAX)
    except zlib.error as error:
        raise HostCallError(Status.SERIALIZATION_FAILURE, str(error)) from error
    if not stream.eof:
        raise HostCallError(Status.SERIALIZATION_FAILURE, "the data are truncated, or too long")
    return data


def _clear_route_cache(vm: "Vm", argument: bytes) -> bytes:
    context = vm.http_filter()
    if context is not None:
        context.clear_route_cache()
    return b""


def _declare_property(vm: "Vm", argument: bytes) -> bytes:
    arguments = _arguments(argument)
    name, declared = arguments.bytes(_NAME), vm.effective_root().declared
    if name in declared:
        raise HostCallError(Status.BAD_ARGUMENT, f"the property {name!r} is declared already")
    declared[name] = DeclaredProperty(bool(arguments.int(_READ_ONLY)))
    return b""


def _set_envoy_filter_state(vm: "Vm", argument: bytes) -> bytes:
    arguments = _arguments(argument)
    path = arguments.bytes(_PATH).decode("utf-8", "replace")
    stream = vm.effective_stream()
    if path not in FILTER_STATE_KEYS or stream is None:
        raise HostCallError(Status.NOT_FOUND, f"no filter state {path!r} here")
    stream.filter_state[path] = arguments.bytes(_VALUE)
    return b""


def _expr_create(vm: "Vm", argument: bytes) -> bytes:
    raise HostCallError(Status.BAD_ARGUMENT, "CEL expressions are not simulated")


def _expr_evaluate(vm: "Vm", argument: bytes) -> bytes:
    if len(argument) != _TOKEN_SIZE:
        raise HostCallError(Status.BAD_ARGUMENT, f"a token has {_TOKEN_SIZE} bytes")
    raise HostCallError(Status.NOT_FOUND, "no such expression")


def _expr_delete(vm: "Vm", argument: bytes) -> bytes:
    if len(argument) != _TOKEN_SIZE:
        raise HostCallError(Status.BAD_ARGUMENT, f"a token has {_TOKEN_SIZE} bytes")
    return b""


def _get_log_level(vm: "Vm", argument: bytes) -> bytes:
    return int(vm.gateway.log_level).to_bytes(4, "little")


def _nothing(vm: "Vm", argument: bytes) -> bytes:
    return b""


_EVERYWHERE: "dict[str, ForeignFunction]" = {
    "compress": _compress,
    "uncompress": _uncompress,
    "clear_route_cache": _clear_route_cache,
    "declare_property": _declare_property,
    "set_envoy_filter_state": _set_envoy_filter_state,
    "expr_create": _expr_create,
    "expr_evaluate": _expr_evaluate,
    "expr_delete": _expr_delete,
}
_HIGRESS: "dict[str, ForeignFunction]" = _EVERYWHERE | {
    "get_log_level": _get_log_level,
    "set_global_max_requests_per_io_cycle": _nothing,
}


def built_in(target: Target) -> "dict[str, ForeignFunction]":
    return _HIGRESS if target == "higress" else _EVERYWHERE
