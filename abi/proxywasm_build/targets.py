"""What each gateway offers to a module and expects from it.

Sources: the proxy-wasm ABI 0.2.1; Higress's fork of proxy-wasm-cpp-host; both seen on running hosts. All parameters are
i32 but where `I` stands for an i64; all host functions return an i32 status.
"""

from dataclasses import dataclass, field

from .wasm.module import I32, I64, FuncType

_TYPES = {"i": I32, "I": I64}


def _signature(params: str, results: str = "i") -> FuncType:
    return FuncType(bytes(_TYPES[c] for c in params), bytes(_TYPES[c] for c in results))


_ABI_0_2_1 = {
    "proxy_log": "iii",
    "proxy_get_log_level": "i",
    "proxy_get_current_time_nanoseconds": "i",
    "proxy_set_tick_period_milliseconds": "i",
    "proxy_done": "",
    "proxy_set_effective_context": "i",
    "proxy_get_buffer_bytes": "iiiii",
    "proxy_set_buffer_bytes": "iiiii",
    "proxy_get_buffer_status": "iii",
    "proxy_get_header_map_size": "ii",
    "proxy_get_header_map_pairs": "iii",
    "proxy_set_header_map_pairs": "iii",
    "proxy_get_header_map_value": "iiiii",
    "proxy_add_header_map_value": "iiiii",
    "proxy_replace_header_map_value": "iiiii",
    "proxy_remove_header_map_value": "iii",
    "proxy_continue_stream": "i",
    "proxy_close_stream": "i",
    "proxy_get_status": "iii",
    "proxy_send_local_response": "iiiiiiii",
    "proxy_http_call": "iiiiiiiiii",
    "proxy_grpc_call": "iiiiiiiiiiii",
    "proxy_grpc_stream": "iiiiiiiii",
    "proxy_grpc_send": "iiii",
    "proxy_grpc_cancel": "i",
    "proxy_grpc_close": "i",
    "proxy_set_shared_data": "iiiii",
    "proxy_get_shared_data": "iiiii",
    "proxy_register_shared_queue": "iii",
    "proxy_resolve_shared_queue": "iiiii",
    "proxy_enqueue_shared_queue": "iii",
    "proxy_dequeue_shared_queue": "iii",
    "proxy_define_metric": "iiii",
    "proxy_record_metric": "iI",
    "proxy_increment_metric": "iI",
    "proxy_get_metric": "ii",
    "proxy_get_property": "iiii",
    "proxy_set_property": "iiii",
    "proxy_call_foreign_function": "iiiiii",
}

_HIGRESS = {
    "proxy_redis_init": "iiiiiii",
    "proxy_redis_call": "iiiii",
    "proxy_get_upstream_hosts": "ii",
    "proxy_set_upstream_override_host": "ii",
    "proxy_inject_encoded_data_to_filter_chain": "iii",
}

# The functions of wasi_snapshot_preview1 that every Envoy from 1.36 to 1.40 has.
PORTABLE_WASI = {
    "fd_write": "iiii",
    "fd_read": "iiii",
    "fd_seek": "iIii",
    "fd_close": "i",
    "fd_fdstat_get": "ii",
    "fd_fdstat_set_flags": "ii",
    "environ_get": "ii",
    "environ_sizes_get": "ii",
    "args_get": "ii",
    "args_sizes_get": "ii",
    "clock_time_get": "iIi",
    "random_get": "ii",
    "sched_yield": "",
    "poll_oneoff": "iiii",
    "proc_exit": "i",
    "path_open": "iiiiiIIii",
    "fd_prestat_get": "ii",
    "fd_prestat_dir_name": "iii",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A gateway: its name, the ABI markers to export in this order, and what may be imported."""

    name: str
    abi_markers: tuple[str, ...]
    env: dict[str, FuncType]
    wasi: dict[str, FuncType] = field(
        default_factory=lambda: {
            name: _signature(params, "" if name == "proc_exit" else "i") for name, params in PORTABLE_WASI.items()
        }
    )

    def offers(self, module: str, name: str) -> FuncType | None:
        """The type of an import, or None if this gateway does not have it."""
        return {"env": self.env, "wasi_snapshot_preview1": self.wasi}.get(module, {}).get(name)


# The first marker that Higress knows wins, and 0_2_100 makes StopIteration mean what it says; stock Envoy skips it.
HIGRESS = Target(
    name="higress",
    abi_markers=("proxy_abi_version_0_2_100", "proxy_abi_version_0_2_1"),
    env={name: _signature(params) for name, params in (_ABI_0_2_1 | _HIGRESS).items()},
)
ENVOY = Target(
    name="envoy",
    abi_markers=("proxy_abi_version_0_2_1",),
    env={name: _signature(params) for name, params in _ABI_0_2_1.items()},
)
TARGETS = {target.name: target for target in (HIGRESS, ENVOY)}

# Callbacks: exported name -> parameters and results, for the checks.
CALLBACKS = {
    name: _signature(params, results)
    for name, params, results in [
        ("proxy_on_context_create", "ii", ""),
        ("proxy_on_done", "i", "i"),
        ("proxy_on_log", "i", ""),
        ("proxy_on_delete", "i", ""),
        ("proxy_on_vm_start", "ii", "i"),
        ("proxy_validate_configuration", "ii", "i"),
        ("proxy_on_configure", "ii", "i"),
        ("proxy_on_tick", "i", ""),
        ("proxy_on_request_headers", "iii", "i"),
        ("proxy_on_request_body", "iii", "i"),
        ("proxy_on_request_trailers", "ii", "i"),
        ("proxy_on_request_metadata", "ii", "i"),
        ("proxy_on_response_headers", "iii", "i"),
        ("proxy_on_response_body", "iii", "i"),
        ("proxy_on_response_trailers", "ii", "i"),
        ("proxy_on_response_metadata", "ii", "i"),
        ("proxy_on_new_connection", "i", "i"),
        ("proxy_on_downstream_data", "iii", "i"),
        ("proxy_on_downstream_connection_close", "ii", ""),
        ("proxy_on_upstream_data", "iii", "i"),
        ("proxy_on_upstream_connection_close", "ii", ""),
        ("proxy_on_http_call_response", "iiiii", ""),
        ("proxy_on_grpc_receive_initial_metadata", "iii", ""),
        ("proxy_on_grpc_receive", "iii", ""),
        ("proxy_on_grpc_receive_trailing_metadata", "iii", ""),
        ("proxy_on_grpc_close", "iii", ""),
        ("proxy_on_queue_ready", "ii", ""),
        ("proxy_on_foreign_function", "iii", ""),
        ("proxy_on_redis_call_response", "iiii", ""),
    ]
}
ALLOCATORS = {name: _signature("i") for name in ("proxy_on_memory_allocate", "malloc")}
