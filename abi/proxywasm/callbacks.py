"""The callbacks of the ABI that go to a context, in the order of their bits in a mask of wanted callbacks.

The module's exports are these names with `proxy_` before them. `abi/native` holds the same table in C; a test compares
them.
"""

CONTEXT_CALLBACKS = (
    "on_vm_start",
    "on_configure",
    "validate_configuration",
    "on_tick",
    "on_queue_ready",
    "on_foreign_function",
    "on_done",
    "on_log",
    "on_request_headers",
    "on_request_body",
    "on_request_trailers",
    "on_request_metadata",
    "on_response_headers",
    "on_response_body",
    "on_response_trailers",
    "on_response_metadata",
    "on_new_connection",
    "on_downstream_data",
    "on_downstream_connection_close",
    "on_upstream_data",
    "on_upstream_connection_close",
)
