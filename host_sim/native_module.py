"""The module `_proxywasm` in plain CPython: `proxywasm._host.HostModule` over the host core.

It holds the wiring that the plugin makes (dispatcher, contexts with their masks, manifest) and translates between the
plugin's values and the host's: names and values of headers and addresses are str to the plugin, all else is bytes.
"""

from collections.abc import Callable, Sequence
from typing import Any

from proxywasm._host import Dispatcher, Pairs, RedisValue, Text
from proxywasm.enums import Status

from .codec import Pair, RespError, decode_pairs, decode_reply, encode_command, encode_pairs
from .errors import HostCallError
from .guest import HostCalls
from .headers import to_bytes, to_str

_U32 = 0xFFFF_FFFF


def _bytes_pairs(pairs: Pairs) -> list[Pair]:
    return [(to_bytes(key), to_bytes(value)) for key, value in pairs]


def _text_pairs(pairs: list[Pair]) -> list[tuple[str, str]]:
    return [(to_str(key), to_str(value)) for key, value in pairs]


class NativeModule:
    """Is put into sys.modules as `_proxywasm` while the plugin is imported."""

    def __init__(self, host: HostCalls) -> None:
        self.dispatcher: Dispatcher | None = None
        self.contexts: dict[int, tuple[object, int]] = {}
        self.manifest = b""
        self._host_call = host.host_call

    def _call(self, name: str, *arguments: Any) -> Any:
        try:
            return self._host_call(name, *arguments)
        except HostCallError as error:
            if self.dispatcher is None:
                raise
            raise self.dispatcher.host_error(name, error.status) from error

    def _find(self, name: str, *arguments: Any, absent: tuple[Status, ...] = (Status.NOT_FOUND,)) -> Any:
        """As `_call`, but None for a status that means absence."""
        try:
            return self._host_call(name, *arguments)
        except HostCallError as error:
            if error.status in absent:
                return None
            if self.dispatcher is None:
                raise
            raise self.dispatcher.host_error(name, error.status) from error

    # Wiring

    def set_dispatcher(self, dispatcher: Dispatcher, /) -> None:
        self.dispatcher = dispatcher

    def attach(self, context_id: int, context: object, wanted: int, /) -> None:
        self.contexts[context_id] = (context, wanted)

    def set_wanted(self, context_id: int, wanted: int, /) -> None:
        attached = self.contexts.get(context_id)
        if attached is not None:
            self.contexts[context_id] = (attached[0], wanted)

    def detach(self, context_id: int, /) -> None:
        self.contexts.pop(context_id, None)

    def set_manifest(self, manifest: bytes, /) -> None:
        self.manifest = manifest

    # Codecs

    def encode_command(self, arguments: Sequence[str | bytes | int], /) -> bytes:
        return encode_command(arguments)

    def decode_reply(self, data: bytes, /) -> RedisValue:
        value: RedisValue = self._plain(decode_reply(data))
        return value

    def _plain(self, value: Any) -> Any:
        if isinstance(value, RespError) and self.dispatcher is not None:
            return self.dispatcher.reply_error(str(value))
        return [self._plain(item) for item in value] if isinstance(value, list) else value

    def encode_pairs(self, pairs: Pairs, /) -> bytes:
        return encode_pairs(_bytes_pairs(pairs))

    def decode_pairs(self, data: bytes, /) -> list[tuple[str, str]]:
        return _text_pairs(decode_pairs(data))

    # Log, time, timer, lifecycle

    def log(self, level: int, message: Text, /) -> None:
        self._call("proxy_log", level & _U32, to_bytes(message))

    def get_log_level(self) -> int:
        return int(self._call("proxy_get_log_level"))

    def get_current_time_nanoseconds(self) -> int:
        return int(self._call("proxy_get_current_time_nanoseconds"))

    def set_tick_period_milliseconds(self, period_ms: int, /) -> None:
        self._call("proxy_set_tick_period_milliseconds", period_ms & _U32)

    def done(self) -> None:
        self._call("proxy_done")

    def set_effective_context(self, context_id: int, /) -> None:
        self._call("proxy_set_effective_context", context_id & _U32)

    # Buffers

    def get_buffer_bytes(self, buffer: int, start: int, max_size: int, /) -> bytes | None:
        found: bytes | None = self._find("proxy_get_buffer_bytes", buffer, start & _U32, max_size & _U32)
        return found

    def set_buffer_bytes(self, buffer: int, start: int, size: int, data: Text, /) -> None:
        self._call("proxy_set_buffer_bytes", buffer, start & _U32, size & _U32, to_bytes(data))

    def get_buffer_status(self, buffer: int, /) -> tuple[int, int]:
        size, flags = self._call("proxy_get_buffer_status", buffer)
        return size, flags

    # Header maps

    def get_header_map_size(self, map_type: int, /) -> int:
        return int(self._call("proxy_get_header_map_size", map_type))

    def get_header_map_pairs(self, map_type: int, /) -> list[tuple[str, str]]:
        return _text_pairs(self._call("proxy_get_header_map_pairs", map_type))

    def set_header_map_pairs(self, map_type: int, pairs: Pairs, /) -> None:
        self._call("proxy_set_header_map_pairs", map_type, _bytes_pairs(pairs))

    def get_header_map_value(self, map_type: int, key: Text, /) -> str | None:
        value = self._find("proxy_get_header_map_value", map_type, to_bytes(key))
        return None if value is None else to_str(value)

    def add_header_map_value(self, map_type: int, key: Text, value: Text, /) -> None:
        self._call("proxy_add_header_map_value", map_type, to_bytes(key), to_bytes(value))

    def replace_header_map_value(self, map_type: int, key: Text, value: Text, /) -> None:
        self._call("proxy_replace_header_map_value", map_type, to_bytes(key), to_bytes(value))

    def remove_header_map_value(self, map_type: int, key: Text, /) -> None:
        self._call("proxy_remove_header_map_value", map_type, to_bytes(key))

    # Streams

    def continue_stream(self, stream: int, /) -> None:
        self._call("proxy_continue_stream", stream)

    def close_stream(self, stream: int, /) -> None:
        self._call("proxy_close_stream", stream)

    def get_status(self) -> tuple[int, str]:
        code, message = self._call("proxy_get_status")
        return code, to_str(message)

    def send_local_response(
        self, status_code: int, details: Text, body: Text, headers: Pairs, grpc_status: int, /
    ) -> None:
        arguments = (status_code & _U32, to_bytes(details), to_bytes(body), _bytes_pairs(headers), grpc_status)
        self._call("proxy_send_local_response", *arguments)

    # Callouts

    def http_call(self, upstream: Text, headers: Pairs, body: Text, trailers: Pairs, timeout_ms: int, /) -> int:
        arguments = (to_bytes(upstream), _bytes_pairs(headers), to_bytes(body), _bytes_pairs(trailers), timeout_ms)
        return int(self._call("proxy_http_call", *arguments))

    def grpc_call(
        self, upstream: Text, service: Text, method: Text, metadata: Pairs, message: Text, timeout_ms: int, /
    ) -> int:
        names = (to_bytes(upstream), to_bytes(service), to_bytes(method))
        return int(self._call("proxy_grpc_call", *names, _bytes_pairs(metadata), to_bytes(message), timeout_ms))

    def grpc_stream(self, upstream: Text, service: Text, method: Text, metadata: Pairs, /) -> int:
        names = (to_bytes(upstream), to_bytes(service), to_bytes(method))
        return int(self._call("proxy_grpc_stream", *names, _bytes_pairs(metadata)))

    def grpc_send(self, stream_id: int, message: Text, end_stream: bool, /) -> None:
        self._call("proxy_grpc_send", stream_id, to_bytes(message), int(end_stream))

    def grpc_cancel(self, call_id: int, /) -> None:
        self._call("proxy_grpc_cancel", call_id)

    def grpc_close(self, call_id: int, /) -> None:
        self._call("proxy_grpc_close", call_id)

    # Shared data, shared queues

    def get_shared_data(self, key: Text, /) -> tuple[bytes, int] | None:
        found: tuple[bytes, int] | None = self._find("proxy_get_shared_data", to_bytes(key))
        return found

    def set_shared_data(self, key: Text, value: Text | bytearray, cas: int, /) -> None:
        data = bytes(value) if isinstance(value, bytearray) else to_bytes(value)
        self._call("proxy_set_shared_data", to_bytes(key), data, cas & _U32)

    def register_shared_queue(self, name: Text, /) -> int:
        return int(self._call("proxy_register_shared_queue", to_bytes(name)))

    def resolve_shared_queue(self, vm_id: Text, name: Text, /) -> int | None:
        found: int | None = self._find("proxy_resolve_shared_queue", to_bytes(vm_id), to_bytes(name))
        return found

    def enqueue_shared_queue(self, queue_id: int, value: Text, /) -> None:
        self._call("proxy_enqueue_shared_queue", queue_id & _U32, to_bytes(value))

    def dequeue_shared_queue(self, queue_id: int, /) -> bytes | None:
        found: bytes | None = self._find("proxy_dequeue_shared_queue", queue_id & _U32, absent=(Status.EMPTY,))
        return found

    # Metrics

    def define_metric(self, metric_type: int, name: Text, /) -> int:
        return int(self._call("proxy_define_metric", metric_type & _U32, to_bytes(name)))

    def record_metric(self, metric_id: int, value: int, /) -> None:
        self._call("proxy_record_metric", metric_id & _U32, value)

    def increment_metric(self, metric_id: int, offset: int, /) -> None:
        self._call("proxy_increment_metric", metric_id & _U32, offset)

    def get_metric(self, metric_id: int, /) -> int:
        return int(self._call("proxy_get_metric", metric_id & _U32))

    # Properties, foreign functions

    def get_property(self, path: Text, /) -> bytes | None:
        found: bytes | None = self._find("proxy_get_property", to_bytes(path))
        return found

    def set_property(self, path: Text, value: Text, /) -> None:
        self._call("proxy_set_property", to_bytes(path), to_bytes(value))

    def call_foreign_function(self, name: Text, argument: Text, /) -> bytes:
        return bytes(self._call("proxy_call_foreign_function", to_bytes(name), to_bytes(argument)))

    # Higress

    def redis_init(self, cluster: Text, username: Text, password: Text, timeout_ms: int, /) -> None:
        arguments = (to_bytes(cluster), to_bytes(username), to_bytes(password), timeout_ms)
        self._call("proxy_redis_init", *arguments)

    def redis_call(self, cluster: Text, query: bytes, /) -> int:
        return int(self._call("proxy_redis_call", to_bytes(cluster), query))

    def get_upstream_hosts(self) -> bytes:
        pairs = self._call("proxy_get_upstream_hosts")
        return encode_pairs(pairs) if pairs else b""

    def set_upstream_override_host(self, address: Text, /) -> None:
        self._call("proxy_set_upstream_override_host", to_bytes(address))

    def inject_encoded_data_to_filter_chain(self, body: Text, end_stream: bool, /) -> None:
        self._call("proxy_inject_encoded_data_to_filter_chain", to_bytes(body), int(end_stream))


def functions(module: NativeModule) -> dict[str, Callable[..., Any]]:
    """The public functions of the module by name."""
    return {name: getattr(module, name) for name in dir(NativeModule) if not name.startswith("_")}
