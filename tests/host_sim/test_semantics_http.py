"""Rules 1 to 6 and 10 of the semantics that a simulator must copy, each quoted. What differs was seen on Envoy 1.40."""

from typing import Any

import pytest

from host_sim.callouts import HttpResponse
from tests.host_sim.guests import REQUEST, Play, status_of

MARKER = "proxy_abi_version_0_2_1"
TARGETS = pytest.mark.parametrize("target", ["envoy", "higress"])
PAIRS = [(b":method", b"GET"), (b":path", b"/"), (b":authority", b"x")]


def start(target: str = "envoy", marker: str = MARKER, **callbacks: Any) -> tuple[Any, Any]:
    sim: Any = Play(target, marker).on(**callbacks).start()  # type: ignore[arg-type]
    return sim, sim.open_stream()


@pytest.mark.parametrize(("marker", "seen"), [(MARKER, 0), ("proxy_abi_version_0_2_100", 1)])
def test_rule_1(marker: str, seen: int) -> None:
    """The ABI marker decides what a pause means: with 0_2_1 a headers return of 1 becomes StopAllIterationAndWatermark
    (no body callbacks while paused); with Higress's 0_2_100 it stays StopIteration."""
    bodies: list[int] = []

    def request_body(call: Any, context: int, size: int, end: int) -> int:
        bodies.append(size)
        return 1

    _, stream = start("higress", marker, request_headers=lambda *a: 1, request_body=request_body)
    stream.request_headers(REQUEST, end_of_stream=False)
    stream.request_body(b"x")
    assert len(bodies) == seen
    assert stream.paused


def test_rule_2() -> None:
    """Data return > 3 -> StopIterationNoBuffer; header return > 4 -> StopAllIterationAndWatermark."""
    _, stream = start(request_headers=lambda *a: 5)
    stream.request_headers(REQUEST)
    assert stream.paused
    _, stream = start(request_body=lambda call, context, size, end: 0 if end else 4)
    stream.request_headers(REQUEST, end_of_stream=False)
    stream.request_body(b"dropped", end_of_stream=False)
    stream.request_body(b"kept")
    assert stream.upstream.body == b"kept"


@TARGETS
def test_rule_3(target: str) -> None:
    """Request headers can be changed only until the headers are continued; afterwards mutation gives BAD_ARGUMENT. Any
    change of a request header clears the route cache (in stock Envoy too, with an ABI up to 0_2_1) unless, in Higress,
    property `clear_route_cache` was set to `off`."""
    seen: list[str] = []

    def request_headers(call: Any, *arguments: int) -> int:
        call("replace_header_map_value", 0, b"x", b"1")
        call("set_property", b"clear_route_cache", b"off")
        call("replace_header_map_value", 0, b"x", b"2")
        return 0

    def later(call: Any, *arguments: int) -> int:
        seen.append(status_of(call, "replace_header_map_value", 0, b"x", b"3"))
        seen.append(status_of(call, "get_header_map_value", 0, b"x"))
        return 0

    _, stream = start(target, request_headers=request_headers, request_body=later, response_headers=later)
    stream.request_headers(REQUEST, end_of_stream=False)
    stream.request_body(b"x")
    stream.response_headers({":status": "200"})
    assert stream.upstream.headers.get(b"x") == b"2"
    readable = "BAD_ARGUMENT" if target == "envoy" else "OK"
    assert seen == ["BAD_ARGUMENT", readable] * 2
    assert stream.route_cache_clears == (2 if target == "envoy" else 1)


def test_rule_4() -> None:
    """`continue_stream` and local replies take effect after the callback returns. After a local reply any returned
    action stops the stream; a second local reply is ignored. `continue_stream(UPSTREAM)` = UNIMPLEMENTED."""
    within: list[Any] = []

    def request_headers(call: Any, *arguments: int) -> int:
        call("send_local_response", 403, b"", b"first", [], -1)
        call("send_local_response", 404, b"", b"second", [], -1)
        within.append((stream.local_reply, status_of(call, "continue_stream", 3)))
        return 0

    sim, stream = start(request_headers=request_headers)
    stream.request_headers(REQUEST)
    assert within == [(None, "UNIMPLEMENTED")]
    assert (sim.observe(stream).status, stream.downstream.body, stream.upstream.headers) == (403, b"first", None)


@pytest.mark.parametrize("phase", ["request_headers", "request_body", "request_trailers", "response_headers"])
def test_a_local_reply_from_every_phase_before_the_response_has_begun(phase: str) -> None:
    def reply(call: Any, *arguments: int) -> int:
        call("send_local_response", 418, b"", b"", [(b"x-r", b"1")], -1)
        return 0

    waits = phase in ("request_body", "request_trailers")
    first: dict[str, Any] = {"request_headers": lambda *a: 4} if waits else {}
    sim, stream = start(**{**first, phase: reply})
    stream.request_headers(REQUEST, end_of_stream=False)
    stream.request_body(b"x", end_of_stream=False)
    stream.request_trailers({"t": "1"})
    if stream.paused:
        stream.proceed(stream.request)
    stream.response_headers({":status": "200"})
    assert (sim.observe(stream).status, sim.observe(stream).header("x-r")) == (418, "1")
    sim.finish()


def test_a_grpc_client_gets_a_grpc_status() -> None:
    def reply(code: int) -> Any:
        return lambda call, *a: call("send_local_response", 429, b"", b"too many", [], code) or 0

    for code, expected in ((-1, "14"), (8, "8")):
        sim, stream = start(request_headers=reply(code))
        stream.request_headers({**REQUEST, "content-type": "application/grpc"})
        seen = sim.observe(stream)
        assert (seen.status, seen.header("grpc-status"), seen.header("grpc-message")) == (200, expected, "too many")


def callout(timeout_ms: int = 0) -> tuple[Any, list[Any]]:
    """A simulator whose tick calls out, and what came back: call id, sizes, status, body."""
    seen: list[Any] = []

    def response(call: Any, root: int, call_id: int, headers: int, size: int, trailers: int) -> None:
        body = call("get_buffer_bytes", 4, 0, size) if headers else b""
        seen.append((root, call_id, headers, call("get_status"), body))

    def tick(call: Any, root: int) -> None:
        call("http_call", b"llm", PAIRS, b"", [], timeout_ms)
        seen.append("called")

    sim, _ = start(tick=tick, http_call_response=response)
    sim.vm.tick()
    return sim, seen


def test_rule_5_the_context_and_the_token() -> None:
    """Token low 2 bits: HTTP 0; step 4. The context id of `proxy_on_http_call_response` is the root's."""
    sim, seen = callout()
    sim.vm.tick()
    sim.deliver_http(HttpResponse([(b":status", b"200")], b"a"))
    sim.deliver_http(HttpResponse([(b":status", b"200")], b"b"))
    assert seen == ["called", "called", (1, 4, 1, (0, b""), b"a"), (1, 8, 1, (0, b""), b"b")]


def test_rule_5_failures() -> None:
    """negative timeout, unknown cluster, missing :method/:path/:authority -> BAD_ARGUMENT; synchronous failure ->
    INTERNAL_FAILURE; asynchronous failure -> response(call,0,0,0) with get_status (11,"reset")."""
    sim, seen = callout()
    sim.deliver_http(None)
    assert seen[1:] == [(1, 4, 0, (11, b"reset"), b"")]
    statuses: list[str] = []

    def tick(call: Any, root: int) -> None:
        bad: list[Any] = [(b"llm", PAIRS, b"", [], -1), (b"none", PAIRS, b"", [], 0), (b"llm", PAIRS[1:], b"", [], 0)]
        for arguments in bad:
            statuses.append(status_of(call, "http_call", *arguments))
        statuses.append(status_of(call, "http_call", b"empty", PAIRS, b"", [], 0))
        statuses.append(call("get_status"))

    sim = Play(clusters={"llm": ["10.0.0.1:80"], "empty": []}).on(tick=tick).start()
    sim.vm.tick()
    assert statuses == ["BAD_ARGUMENT"] * 3 + ["INTERNAL_FAILURE", (0, b"")]


def test_rule_5_a_timeout_is_an_answer_of_the_gateway() -> None:
    """timeout 0 = none; after another one Envoy's client makes a 504."""
    sim, seen = callout(timeout_ms=100)
    sim.advance(100)
    assert seen[1:] == [(1, 4, 3, (0, b""), b"upstream request timeout")]
    sim, seen = callout(timeout_ms=0)
    sim.advance(1_000_000)
    assert seen == ["called"]


def test_rule_6() -> None:
    """Buffers: reading past the end is OK with ptr 0 size 0. Set: start 0 drains `size` bytes then prepends; start >=
    len appends."""
    seen: list[Any] = []

    def request_body(call: Any, context: int, size: int, end: int) -> int:
        seen.extend([call("get_buffer_bytes", 0, 99, 1), status_of(call, "set_buffer_bytes", 0, 1, 0, b"?")])
        call("set_buffer_bytes", 0, 0, 1, b"<")
        call("set_buffer_bytes", 0, 99, 0, b">")
        return 0

    _, stream = start(request_body=request_body)
    stream.request_headers(REQUEST, end_of_stream=False)
    stream.request_body(b"abc")
    assert (seen, stream.upstream.body) == ([b"", "BAD_ARGUMENT"], b"<bc>")


def test_rule_6_a_body_that_is_not_there_is_empty_and_cannot_be_changed() -> None:
    seen: list[Any] = []

    def request_headers(call: Any, *arguments: int) -> int:
        seen.extend(call("get_buffer_bytes", kind, 0, 9) for kind in (0, 1, 2, 3, 5, 8))
        seen.extend(status_of(call, "set_buffer_bytes", kind, 0, 0, b"x") for kind in (0, 4, 7, 9))
        return 0

    _, stream = start(request_headers=request_headers)
    stream.request_headers(REQUEST)
    assert seen == [b""] * 6 + ["BAD_ARGUMENT", "NOT_FOUND", "NOT_FOUND", "BAD_ARGUMENT"]


def test_rule_10() -> None:
    """A missing header is NOT_FOUND; a map that is not available now is BAD_ARGUMENT (NOT_FOUND during on_log). Only
    the first value returns."""
    seen: list[Any] = []

    def request_headers(call: Any, *arguments: int) -> int:
        call("add_header_map_value", 0, b"x", b"1")
        call("add_header_map_value", 0, b"x", b"2")
        seen.append(call("get_header_map_value", 0, b"x"))
        seen.extend(status_of(call, "get_header_map_value", kind, b"none") for kind in (0, 2, 8))
        return 0

    def log(call: Any, *arguments: int) -> None:
        seen.append(status_of(call, "get_header_map_value", 1, b"x"))

    _, stream = start(request_headers=request_headers, log=log)
    stream.request_headers(REQUEST)
    stream.abort()
    assert seen == [b"1", "NOT_FOUND", "BAD_ARGUMENT", "BAD_ARGUMENT", "NOT_FOUND"]


def test_trailers_can_be_added_with_the_last_data() -> None:
    """The plugin's own callback for trailers does not run for them."""

    def add(map_type: int) -> Any:
        def body(call: Any, context: int, size: int, end: int) -> int:
            assert status_of(call, "add_header_map_value", map_type, b"t", b"1") == ("OK" if end else "BAD_ARGUMENT")
            return 0

        return body

    never: dict[str, Any] = {"request_trailers": lambda *a: 1 // 0, "response_trailers": lambda *a: 1 // 0}
    sim, stream = start(request_body=add(1), response_body=add(3), **never)
    stream.request_headers(REQUEST, end_of_stream=False)
    stream.request_body(b"a", end_of_stream=False)
    stream.request_body(b"b")
    stream.response_headers({":status": "200"}, end_of_stream=False)
    stream.response_body(b"c")
    assert (stream.upstream.trailers.text_pairs(), stream.upstream.ended) == ([("t", "1")], True)
    assert stream.downstream.trailers.text_pairs() == [("t", "1")]
    sim.finish()


def test_metadata_callbacks_cannot_hold_anything() -> None:
    """An HTTP/2 METADATA frame: the plugin hears how many entries came; while all is stopped, it waits."""
    seen: list[int] = []

    def note(call: Any, context: int, count: int) -> int:
        seen.append(count)
        return 1

    sim, stream = start(request_headers=lambda *a: 4, request_metadata=note, response_metadata=note)
    stream.request_headers(REQUEST)
    stream.request_metadata({"a": "1", "b": "2"})
    assert (seen, stream.upstream.metadata) == ([], [])
    stream.proceed(stream.request)
    stream.response_headers({":status": "200"}, end_of_stream=False)
    stream.response_metadata({"c": "3"})
    assert seen == [2, 1]
    assert [len(frame) for frame in stream.upstream.metadata + stream.downstream.metadata] == [2, 1]
    stream.response_body(b"")
    sim.finish()


@pytest.mark.parametrize("end_of_stream", [True, False])
def test_continue_stream_within_the_headers_callback(end_of_stream: bool) -> None:
    """As on Envoy: the request's maps are out of reach at once, and the headers go on whatever the callback returns.
    What comes after them is stopped as it says: a body then waits for ever."""
    seen: list[str] = []

    def request_headers(call: Any, *arguments: int) -> int:
        call("continue_stream", 0)
        seen.append(status_of(call, "get_header_map_value", 0, b":path"))
        return 4

    _, stream = start(request_headers=request_headers)
    stream.request_headers(REQUEST, end_of_stream)
    if not end_of_stream:
        stream.request_body(b"x")
    assert seen == ["BAD_ARGUMENT"]
    assert (stream.upstream.headers is not None, stream.upstream.body) == (True, b"")
    assert (stream.upstream.ended, stream.paused) == (end_of_stream, not end_of_stream)


def test_effective_context_0_is_the_callbacks_own() -> None:
    seen: list[Any] = []

    def request_headers(call: Any, *arguments: int) -> int:
        call("set_effective_context", 1)
        seen.append(status_of(call, "get_header_map_value", 0, b":path"))
        call("set_effective_context", 0)
        seen.append(call("get_header_map_value", 0, b":path"))
        return 0

    _, stream = start(request_headers=request_headers)
    stream.request_headers(REQUEST)
    assert seen == ["BAD_ARGUMENT", b"/v1/chat"]


def test_the_status_of_a_failed_callout_keeps_its_code_and_loses_its_text() -> None:
    seen: list[Any] = []

    def tick(call: Any, root: int) -> None:
        seen.append(call("get_status"))
        call("http_call", b"llm", PAIRS, b"", [], 0)

    sim, _ = start(tick=tick, http_call_response=lambda call, *a: seen.append(call("get_status")))
    sim.vm.tick()
    sim.deliver_http(None)
    sim.vm.tick()
    assert seen == [(0, b""), (11, b"reset"), (11, b"")]
