"""What the page says of host calls, and what it does not say."""

import pytest
from proxywasm.enums import Status

from host_sim import HostCallError, HostCallRecord
from host_sim.live.render import host_call_text

SECRET = b"secret"


@pytest.mark.parametrize(
    ("function", "arguments", "result", "text"),
    [
        ("get_header_map_value", (0, b"authorization"), SECRET, "get_header_map_value(0, authorization) → <6 bytes>"),
        ("get_header_map_value", (0, b":PATH"), b"/v1?key=secret", "get_header_map_value(0, :PATH) → /v1"),
        (
            "replace_header_map_value",
            (0, b"cookie", SECRET),
            None,
            "replace_header_map_value(0, cookie, <6 bytes>) → OK",
        ),
        ("replace_header_map_value", (0, b":path", b"/a?secret"), None, "replace_header_map_value(0, :path, /a) → OK"),
        ("get_header_map_pairs", (0,), [(b"a", SECRET)], "get_header_map_pairs(0) → 1 pairs"),
        ("get_buffer_bytes", (0, 0, 6), SECRET, "get_buffer_bytes(0, 0, 6) → <6 bytes>"),
        ("set_buffer_bytes", (0, 0, 6, SECRET), None, "set_buffer_bytes(0, 0, 6, <6 bytes>) → OK"),
        ("redis_init", (b"r", b"u", SECRET, 9), None, "redis_init(r, <1 bytes>, <6 bytes>, 9) → OK"),
        ("redis_call", (b"r", b"*2\r\n$3\r\nGET\r\n$6\r\nsecret\r\n"), 7, "redis_call(r, GET with 1 arguments) → 7"),
        ("redis_call", (b"r", SECRET), 7, "redis_call(r, <6 bytes>) → 7"),
        ("get_property", (b"xds\0route_name",), b"chat", "get_property(xds.route_name) → chat"),
        ("get_property", (b"request\0path",), b"/v1?key=secret", "get_property(request.path) → /v1"),
        ("get_shared_data", (b"k",), (b"v", 3), "get_shared_data(k) → (v, 3)"),
        ("log", (2, b"x" * 300), None, f"log(2, {'x' * 199}…) → OK"),
        ("get_buffer_bytes", (9, 0, 1), HostCallError(Status.NOT_FOUND), "get_buffer_bytes(9, 0, 1) → NOT_FOUND"),
    ],
)
def test_a_host_call_is_short_and_private(function, arguments, result, text):
    seen = host_call_text(HostCallRecord(f"proxy_{function}", arguments, result))
    assert seen == text
    assert "secret" not in seen
