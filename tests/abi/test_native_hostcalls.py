"""Every host call of `_proxywasm`: what reaches the host, and what comes back to Python."""

import pytest

from .raw_host import EMPTY, INTERNAL_FAILURE, NOT_FOUND, OK, SIGNATURES, GuestError, RawHost

NO_PAIRS = bytes(4)
A_B = b"\x01\0\0\0\x01\0\0\0\x01\0\0\0a\0b\0"

# The call in Python; what the host gets; what it answers; the value in Python.
CALLS = [
    ("get_log_level()", (), (OK, 3), 3),
    ("get_current_time_nanoseconds()", (), (OK, 2**64 - 1), 2**64 - 1),
    ("set_tick_period_milliseconds(1000)", (1000,), OK, None),
    ("done()", (), OK, None),
    ("set_effective_context(7)", (7,), OK, None),
    ("get_buffer_bytes(0, 1, 2)", (0, 1, 2), (OK, b"body \xff"), b"body \xff"),
    ("set_buffer_bytes(1, 2, 3, b'x')", (1, 2, 3, b"x"), OK, None),
    ("get_buffer_status(4)", (4,), (OK, 5, 6), (5, 6)),
    ("get_header_map_size(2)", (2,), (OK, 9), 9),
    ("get_header_map_pairs(2)", (2,), (OK, A_B), [("a", "b")]),
    ("set_header_map_pairs(2, [('a', b'b')])", (2, A_B), OK, None),
    ("get_header_map_value(0, 'k')", (0, b"k"), (OK, "é".encode() + b"\xff"), "é\udcff"),
    ("add_header_map_value(0, 'k', 'é\\udcff')", (0, b"k", b"\xc3\xa9\xff"), OK, None),
    ("replace_header_map_value(0, b'k', '')", (0, b"k", b""), OK, None),
    ("remove_header_map_value(3, 'k')", (3, b"k"), OK, None),
    ("continue_stream(1)", (1,), OK, None),
    ("close_stream(2)", (2,), OK, None),
    ("get_status()", (), (OK, 11, b"reset"), (11, "reset")),
    ("send_local_response(429, 'd', b'body', [], -1)", (429, b"d", b"body", NO_PAIRS, -1), OK, None),
    ("http_call('up', [('a', 'b')], b'', (), 500)", (b"up", A_B, b"", NO_PAIRS, 500), (OK, 12), 12),
    ("grpc_call('u', 's', 'm', [], b'x', 9)", (b"u", b"s", b"m", NO_PAIRS, b"x", 9), (OK, 1), 1),
    ("grpc_stream('u', 's', 'm', [('a', 'b')])", (b"u", b"s", b"m", A_B), (OK, 2**32 - 1), 2**32 - 1),
    ("grpc_send(3, b'x', True)", (3, b"x", 1), OK, None),
    ("grpc_cancel(3)", (3,), OK, None),
    ("grpc_close(3)", (3,), OK, None),
    ("set_shared_data('k', b'v', 5)", (b"k", b"v", 5), OK, None),
    ("get_shared_data('k')", (b"k",), (OK, b"v", 5), (b"v", 5)),
    ("register_shared_queue('q')", (b"q",), (OK, 1), 1),
    ("resolve_shared_queue('vm', 'q')", (b"vm", b"q"), (OK, 1), 1),
    ("enqueue_shared_queue(1, b'x')", (1, b"x"), OK, None),
    ("dequeue_shared_queue(1)", (1,), (OK, b"x"), b"x"),
    ("define_metric(1, 'm')", (1, b"m"), (OK, 5), 5),
    ("record_metric(5, 2**62)", (5, 2**62), OK, None),
    ("increment_metric(5, -3)", (5, -3), OK, None),
    ("get_metric(5)", (5,), (OK, 2**63), 2**63),
    ("get_property(b'a\\0b')", (b"a\0b",), (OK, b"v"), b"v"),
    ("set_property('a', 'b')", (b"a", b"b"), OK, None),
    ("call_foreign_function('f', b'')", (b"f", b""), (OK, b"r"), b"r"),
    ("redis_init('c?db=1', 'u', 'p', 3000)", (b"c?db=1", b"u", b"p", 3000), OK, None),
    ("redis_call('c', b'*1\\r\\n')", (b"c", b"*1\r\n"), (OK, 7), 7),
    ("get_upstream_hosts()", (), (OK, A_B), A_B),
    ("set_upstream_override_host('1.2.3.4:5')", (b"1.2.3.4:5",), OK, None),
    ("inject_encoded_data_to_filter_chain(b'x', False)", (b"x", 0), OK, None),
]
MISSING = {
    "get_buffer_bytes": NOT_FOUND,
    "get_header_map_value": NOT_FOUND,
    "get_property": NOT_FOUND,
    "get_shared_data": NOT_FOUND,
    "resolve_shared_queue": NOT_FOUND,
    "dequeue_shared_queue": EMPTY,
}


def name_of(call: str) -> str:
    return call.partition("(")[0]


def test_every_host_call_is_in_the_table():
    assert {f"proxy_{name_of(call)}" for call, *_ in CALLS} | {"proxy_log"} == set(SIGNATURES)


@pytest.mark.parametrize(("call", "arguments", "answer", "value"), CALLS, ids=[name_of(call) for call, *_ in CALLS])
def test_call(host: RawHost, call, arguments, answer, value):
    function = f"proxy_{name_of(call)}"
    host.answers[function] = lambda *_: answer
    assert host.evaluate(f"p.{call}") == repr(value)
    assert host.calls == [(function, *arguments)]


@pytest.mark.parametrize("call", [call for call, *_ in CALLS], ids=name_of)
@pytest.mark.parametrize("status", [NOT_FOUND, EMPTY, INTERNAL_FAILURE, 99])
def test_a_refused_call_raises(host: RawHost, call, status):
    function = f"proxy_{name_of(call)}"
    host.answers[function] = lambda *_: status
    if MISSING.get(name_of(call)) == status:
        assert host.evaluate(f"p.{call}") == "None"
        return
    with pytest.raises(GuestError) as raised:
        host.evaluate(f"p.{call}")
    assert str(raised.value) == f"on_tick 1 HostError('{function}', {status})"


@pytest.mark.parametrize("value", [b"", b"value", bytes(5000)])
def test_shared_data_takes_a_bytearray(host: RawHost, value):
    host.run(f"value = bytearray({value!r}); del value[:0]; p.set_shared_data('k', value, 5)")
    assert host.calls == [("proxy_set_shared_data", b"k", value, 5)]


def test_log_reaches_the_host(host: RawHost):
    host.run("p.log(3, 'warned'); p.log(5, b'critical')")
    assert host.log[1:] == [(3, "warned"), (5, "critical")]


@pytest.mark.parametrize("call", [call for call, *_ in CALLS], ids=name_of)
def test_the_number_of_arguments_is_checked(host: RawHost, call):
    surplus = call[:-1] + (", 0)" if not call.endswith("()") else "0)")
    for wrong in (surplus, name_of(call) + "()"):
        if wrong != call:
            with pytest.raises(GuestError, match=f"TypeError.*{name_of(call)}: expected . arguments, not"):
                host.evaluate(f"p.{wrong}")
    assert not host.calls


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("continue_stream('x')", "TypeError.*'str' object cannot be interpreted as an integer"),
        ("continue_stream(1.0)", "TypeError.*'float' object cannot be interpreted as an integer"),
        ("continue_stream(2**32)", "OverflowError.*continue_stream: 4294967296 does not fit into 32 bits"),
        ("continue_stream(-2**31 - 1)", "OverflowError.*does not fit into 32 bits"),
        ("continue_stream(2**64)", "OverflowError"),
        ("increment_metric(1, 2**63)", "OverflowError"),
        ("get_property(None)", "TypeError.*get_property: expected str or bytes, not NoneType"),
        ("set_property('k', bytearray())", "TypeError.*set_property: expected str or bytes, not bytearray"),
        ("get_property('\\ud800')", "UnicodeEncodeError"),
        ("set_header_map_pairs(0, 'ab')", "TypeError.*pairs: expected a sequence"),
        ("http_call('u', [('\\udcff', 'b')], 5, [], 1)", "TypeError.*http_call: expected str or bytes, not int"),
    ],
)
def test_wrong_arguments_do_not_reach_the_host(host: RawHost, call, message):
    with pytest.raises(GuestError, match=message):
        host.evaluate(f"p.{call}")
    assert not host.calls


@pytest.mark.parametrize("number", [-(2**31), -1, 0, 2**31, 2**32 - 1])
def test_numbers_of_32_bits_pass(host: RawHost, number):
    host.run(f"p.continue_stream({number})")
    assert host.calls[0][1] & 0xFFFF_FFFF == number & 0xFFFF_FFFF


def test_pairs_that_are_not_pairs_raise(host: RawHost):
    host.answers["proxy_get_header_map_pairs"] = lambda _: (OK, b"\x01\0\0\0")
    with pytest.raises(GuestError, match=r"ValueError.*serialised pairs: truncated"):
        host.evaluate("p.get_header_map_pairs(0)")


def test_a_dispatcher_that_makes_no_exception(host: RawHost):
    host.answers["proxy_done"] = lambda: INTERNAL_FAILURE
    with pytest.raises(GuestError, match=r"TypeError.*dispatcher\.host_error: expected an exception"):
        host.run("handler['host_error'] = 'no exception'; p.done()")
