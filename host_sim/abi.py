"""The functions and callbacks of proxy-wasm ABI 0.2.1 and of Higress's extensions, as tables.

One character per parameter of a host call:

    i  u32            j  i32           l  i64
    s  bytes, given as pointer and length
    p  pairs, given as pointer and length; malformed pairs are an empty map, as on Envoy
and, after the colon, per result:
    u  u32, written to an out-pointer      U  u64
    S  bytes: memory of the guest is allocated, its address and size are written to two out-pointers
    P  pairs, written like S

Every function returns its status as i32. `tests/host_sim/test_abi.py` holds the text of the ABI beside these tables.
"""

from typing import Literal, TypeAlias

Target: TypeAlias = Literal["higress", "envoy"]
TARGETS: tuple[Target, ...] = ("higress", "envoy")

HOST_CALLS: dict[str, str] = {
    "proxy_log": "is:",
    "proxy_get_log_level": ":u",
    "proxy_get_current_time_nanoseconds": ":U",
    "proxy_set_tick_period_milliseconds": "i:",
    "proxy_done": ":",
    "proxy_set_effective_context": "i:",
    "proxy_get_buffer_bytes": "iii:S",
    "proxy_set_buffer_bytes": "iiis:",
    "proxy_get_buffer_status": "i:uu",
    "proxy_get_header_map_size": "i:u",
    "proxy_get_header_map_pairs": "i:P",
    "proxy_set_header_map_pairs": "ip:",
    "proxy_get_header_map_value": "is:S",
    "proxy_add_header_map_value": "iss:",
    "proxy_replace_header_map_value": "iss:",
    "proxy_remove_header_map_value": "is:",
    "proxy_continue_stream": "i:",
    "proxy_close_stream": "i:",
    "proxy_get_status": ":uS",
    "proxy_send_local_response": "isspj:",
    "proxy_http_call": "spspj:u",
    "proxy_grpc_call": "ssspsj:u",
    "proxy_grpc_stream": "sssp:u",
    "proxy_grpc_send": "isi:",
    "proxy_grpc_cancel": "i:",
    "proxy_grpc_close": "i:",
    "proxy_set_shared_data": "ssi:",
    "proxy_get_shared_data": "s:Su",
    "proxy_register_shared_queue": "s:u",
    "proxy_resolve_shared_queue": "ss:u",
    "proxy_enqueue_shared_queue": "is:",
    "proxy_dequeue_shared_queue": "i:S",
    "proxy_define_metric": "is:u",
    "proxy_record_metric": "il:",
    "proxy_increment_metric": "il:",
    "proxy_get_metric": "i:U",
    "proxy_get_property": "s:S",
    "proxy_set_property": "ss:",
    "proxy_call_foreign_function": "ss:S",
}

HIGRESS_CALLS: dict[str, str] = {
    "proxy_redis_init": "sssj:",
    "proxy_redis_call": "ss:u",
    "proxy_get_upstream_hosts": ":P",
    "proxy_set_upstream_override_host": "s:",
    "proxy_inject_encoded_data_to_filter_chain": "si:",
}

# Parameters (all i32) and results of the callbacks; all are optional.
CALLBACKS: dict[str, tuple[int, int]] = {
    "proxy_on_context_create": (2, 0),
    "proxy_on_done": (1, 1),
    "proxy_on_log": (1, 0),
    "proxy_on_delete": (1, 0),
    "proxy_on_vm_start": (2, 1),
    "proxy_validate_configuration": (2, 1),
    "proxy_on_configure": (2, 1),
    "proxy_on_tick": (1, 0),
    "proxy_on_request_headers": (3, 1),
    "proxy_on_request_body": (3, 1),
    "proxy_on_request_trailers": (2, 1),
    "proxy_on_request_metadata": (2, 1),
    "proxy_on_response_headers": (3, 1),
    "proxy_on_response_body": (3, 1),
    "proxy_on_response_trailers": (2, 1),
    "proxy_on_response_metadata": (2, 1),
    "proxy_on_new_connection": (1, 1),
    "proxy_on_downstream_data": (3, 1),
    "proxy_on_downstream_connection_close": (2, 0),
    "proxy_on_upstream_data": (3, 1),
    "proxy_on_upstream_connection_close": (2, 0),
    "proxy_on_http_call_response": (5, 0),
    "proxy_on_grpc_receive_initial_metadata": (3, 0),
    "proxy_on_grpc_receive": (3, 0),
    "proxy_on_grpc_receive_trailing_metadata": (3, 0),
    "proxy_on_grpc_close": (3, 0),
    "proxy_on_queue_ready": (2, 0),
    "proxy_on_foreign_function": (3, 0),
    "proxy_on_redis_call_response": (4, 0),
    "proxy_on_memory_allocate": (1, 1),
    "malloc": (1, 1),
}

ABI_MARKERS: dict[Target, tuple[str, ...]] = {
    "envoy": ("proxy_abi_version_0_1_0", "proxy_abi_version_0_2_0", "proxy_abi_version_0_2_1"),
    "higress": (
        "proxy_abi_version_0_1_0",
        "proxy_abi_version_0_2_0",
        "proxy_abi_version_0_2_1",
        "proxy_abi_version_0_2_100",
    ),
}
ABI_HIGRESS = "proxy_abi_version_0_2_100"

# While `_initialize` or `_start` runs, Envoy has made only these available; another call traps and the load fails.
CALLABLE_AT_START = frozenset(
    {
        "proxy_log",
        "fd_write",
        "args_get",
        "args_sizes_get",
        "environ_get",
        "environ_sizes_get",
        "clock_time_get",
        "random_get",
        "poll_oneoff",
        "fd_fdstat_get",
        "fd_fdstat_set_flags",
    }
)


def host_calls(target: Target) -> dict[str, str]:
    """The host calls that a target offers, with their signatures."""
    return HOST_CALLS | HIGRESS_CALLS if target == "higress" else HOST_CALLS


def parameter_types(signature: str) -> list[str]:
    """The wasm parameter types of a signature: "i32" and "i64"."""
    inputs, _, outputs = signature.partition(":")
    types: list[str] = []
    for kind in inputs:
        types += {"s": ["i32", "i32"], "p": ["i32", "i32"], "l": ["i64"]}.get(kind, ["i32"])
    for kind in outputs:
        types += ["i32", "i32"] if kind in "SP" else ["i32"]
    return types
