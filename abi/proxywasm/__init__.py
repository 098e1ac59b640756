"""proxywasm: write filters for proxy-wasm hosts (Envoy, Higress) in Python.

A whole filter:

    from proxywasm import HttpContext, RootContext, send_local_response

    class Request(HttpContext):
        def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
            if self.request_headers.get("x-api-key") is None:
                send_local_response(401, "an API key is required")
            self.request_headers.set("x-seen-by", "python")
            return None

    class Filter(RootContext):
        http_context = Request

`proxywasm build my_module:Filter` makes the module. An exception in a callback is logged and counted, and the request
goes on. Host calls raise a subclass of HostError where the host refuses; what is absent is None.
"""

from . import (
    buffers,
    capabilities,
    clock,
    enums,
    errors,
    foreign,
    grpc_client,
    higress,
    http_client,
    properties,
    queues,
    shared_data,
    streams,
)
from .buffers import Buffer
from .capabilities import Capabilities
from .contexts import HttpContext, RootContext, StreamContext
from .enums import Action, DataAction, HeaderAction, LogLevel, Status
from .errors import HostError, ProxyWasmError, RedisError, RedisProtocolError, RedisReplyError, RedisUnreachable
from .headers import HeaderMap
from .metrics import Counter, Gauge, Histogram
from .properties import Property
from .redis_client import RedisClient, RedisScript
from .streams import continue_request, continue_response, send_local_response

__all__ = [
    "Action",
    "Buffer",
    "Capabilities",
    "Counter",
    "DataAction",
    "Gauge",
    "HeaderAction",
    "HeaderMap",
    "Histogram",
    "HostError",
    "HttpContext",
    "LogLevel",
    "Property",
    "ProxyWasmError",
    "RedisClient",
    "RedisError",
    "RedisProtocolError",
    "RedisReplyError",
    "RedisScript",
    "RedisUnreachable",
    "RootContext",
    "Status",
    "StreamContext",
    "buffers",
    "capabilities",
    "clock",
    "continue_request",
    "continue_response",
    "enums",
    "errors",
    "foreign",
    "grpc_client",
    "higress",
    "http_client",
    "properties",
    "queues",
    "send_local_response",
    "shared_data",
    "streams",
]
