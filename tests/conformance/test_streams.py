"""Pausing, continuing, closing, and the end of a stream."""

import pytest

from tests.conformance.probe import OK, REQUEST, RESPONSE, Probe, refused

BODY = b"0123456789"
RESUME_REQUEST = [["set_effective_context", "$context"], ["continue_stream", REQUEST]]
RESUME_RESPONSE = [["set_effective_context", "$context"], ["continue_stream", RESPONSE]]


def test_pause_in_headers(probe: Probe) -> None:
    """1 from the headers callback holds the body too: its callback comes after continue_stream, with all of it"""
    seen = probe.play({"request_headers": [["at_tick", 1, "later"], ["return", 1]], "later": RESUME_REQUEST}, body=BODY)
    assert seen.phases[:3] == ["request_headers", "later", "request_body"]
    assert seen.arguments("request_body") == [[10, True]]
    assert seen.exchange.upstream_body == BODY


def test_stop_iteration(stopping_probe: Probe) -> None:
    """With allow_on_headers_stop_iteration the body callback runs, and its 0 lets headers and body go on"""
    seen = stopping_probe.play({"request_headers": [["return", 1]]}, body=BODY)
    assert seen.phases[:2] == ["request_headers", "request_body"]
    assert (seen.exchange.status, seen.exchange.upstream_body) == (200, BODY)


def test_headers_only(probe: Probe) -> None:
    """A request without a body that is held in its headers goes on after continue_stream"""
    seen = probe.play(
        {"request_headers": [["at_tick", 1, "later"], ["return", 1]], "later": RESUME_REQUEST}, method="GET"
    )
    assert (seen.results("later"), seen.exchange.status) == ([OK, OK], 200)


@pytest.mark.parametrize("action", [3, 4, 5, 99])
def test_other_header_actions(probe: Probe, action: int) -> None:
    """Any other result above 2 holds headers and body"""
    seen = probe.play(
        {"request_headers": [["at_tick", 1, "later"], ["return", action]], "later": RESUME_REQUEST}, body=BODY
    )
    assert seen.phases[:3] == ["request_headers", "later", "request_body"]


def test_continue_and_end(probe: Probe) -> None:
    """2 from the headers callback continues, and does not end the stream"""
    seen = probe.play({"request_headers": [["return", 2]]}, body=BODY)
    assert (seen.exchange.status, seen.exchange.upstream_body) == (200, BODY)


def test_pause_in_body(probe: Probe) -> None:
    """1 from the body callback buffers until continue_stream; what is buffered can be changed from a tick"""
    seen = probe.play(
        {
            "request_body": [["at_tick", 1, "later"], ["return", 1]],
            "later": [
                ["set_effective_context", "$context"],
                ["get_buffer_bytes", 0, 0, 100],
                ["set_buffer_bytes", 0, 0, 100, "new"],
                ["continue_stream", REQUEST],
            ],
        },
        body=[BODY, b""],
    )
    assert seen.results("later") == [OK, "0123456789", OK, OK]
    assert seen.exchange.upstream_body == b"new"


def test_watermark_in_body(probe: Probe) -> None:
    """2 from the body callback keeps the data and lets it go on after continue_stream"""
    seen = probe.play({"request_body": [["at_tick", 1, "later"], ["return", 2]], "later": RESUME_REQUEST}, body=BODY)
    assert (seen.exchange.status, seen.exchange.upstream_body) == (200, BODY)


@pytest.mark.parametrize("action", [3, 4])
def test_no_buffer_in_body(probe: Probe, action: int) -> None:
    """3 and more from the body callback drops the data"""
    seen = probe.play(
        {"request_body": [["at_tick", 1, "later"], ["return", action]], "later": RESUME_REQUEST}, body=[BODY, b""]
    )
    assert (seen.exchange.status, seen.exchange.upstream_body) == (200, b"")


def test_pause_response_headers(probe: Probe) -> None:
    """1 from the response's headers callback holds the response; its headers can be changed until they go on"""
    seen = probe.play(
        {
            "response_headers": [["at_tick", 1, "later"], ["return", 1]],
            "later": [
                ["set_effective_context", "$context"],
                ["replace_header_map_value", 2, "x-later", "1"],
                ["continue_stream", RESPONSE],
            ],
        }
    )
    assert seen.results("later") == [OK, OK, OK]
    assert (seen.downstream("x-later"), seen.exchange.body) == (["1"], b"hello")
    assert seen.arguments("response_body") == [[5, True]]


def test_pause_response_body(probe: Probe) -> None:
    """1 from the response's body callback buffers it until continue_stream"""
    seen = probe.play(
        {
            "response_body": [["at_tick", 1, "later"], ["return", 1]],
            "later": [
                ["set_effective_context", "$context"],
                ["get_buffer_bytes", 1, 0, 100],
                ["set_buffer_bytes", 1, 0, 100, "new"],
                ["continue_stream", RESPONSE],
            ],
        }
    )
    assert (seen.results("later"), seen.exchange.body) == ([OK, "hello", OK, OK], b"new")


def test_continue_what_runs(probe: Probe) -> None:
    """continue_stream of a request that is not held: OK, nothing happens"""
    seen = probe.play({"request_headers": [["continue_stream", REQUEST]]}, body=BODY)
    assert (seen.results("request_headers"), seen.exchange.upstream_body) == ([OK], BODY)


def test_continue_other(probe: Probe) -> None:
    """continue_stream of DOWNSTREAM: OK; of UPSTREAM: UNIMPLEMENTED; of an unknown type: BAD_ARGUMENT"""
    seen = probe.play({"request_headers": [["continue_stream", 2], ["continue_stream", 3], ["continue_stream", 9]]})
    assert seen.results("request_headers") == [OK, refused("UNIMPLEMENTED"), refused("BAD_ARGUMENT")]


def test_close_unknown(probe: Probe) -> None:
    """close_stream of an unknown type: BAD_ARGUMENT"""
    seen = probe.play({"request_headers": [["close_stream", 9]]})
    assert (seen.results("request_headers"), seen.exchange.status) == ([refused("BAD_ARGUMENT")], 200)


def test_close_request(probe: Probe) -> None:
    """close_stream of the request: the client gets no response"""
    seen = probe.play({"request_headers": [["close_stream", REQUEST]]})
    assert (seen.exchange.status, seen.exchange.upstream_headers) == (0, None)
    assert seen.phases == ["request_headers", "log", "done", "delete"]


def test_close_response(probe: Probe) -> None:
    """close_stream of the response: the client gets no response"""
    seen = probe.play({"response_headers": [["close_stream", RESPONSE]]})
    assert seen.exchange.status == 0
    assert seen.phases[-3:] == ["log", "done", "delete"]


def test_lifecycle(probe: Probe) -> None:
    """The callbacks of a whole exchange, and their order at its end: log, done, delete"""
    seen = probe.play({}, body=BODY)
    order = ["request_headers", "request_body", "response_headers", "response_body", "log", "done", "delete"]
    assert list(dict.fromkeys(seen.phases)) == order


def test_done_false(probe: Probe) -> None:
    """false from on_done does not keep a stream's context"""
    seen = probe.play({"done": [["return", 0]]})
    assert seen.phases[-3:] == ["log", "done", "delete"]


def test_client_goes_away(probe: Probe) -> None:
    """A client that goes away while its request is held: log, done, delete; the headers are readable"""
    read = ["get_header_map_value", 0, ":path"]
    playing = probe.start({"request_headers": [["return", 1]], "log": [read], "done": [read]}, body=BODY)
    playing.wait_for("request_headers")
    events = playing.cancel()
    assert [event["phase"] for event in events] == ["request_headers", "log", "done", "delete"]
    assert [event["results"] for event in events[1:3]] == [["/"], ["/"]]


def test_two_streams(probe: Probe) -> None:
    """One stream's callback continues another's request"""
    held = probe.start({"request_headers": [["return", 1]]})
    held.wait_for("request_headers")
    other = probe.play(
        {
            "request_headers": [
                ["context_of", held.script_id],
                ["set_effective_context", "$previous"],
                ["get_header_map_value", 0, ":path"],
                ["continue_stream", REQUEST],
                ["set_effective_context", "$context"],
            ]
        }
    )
    assert other.results("request_headers")[1:] == [OK, "/", OK, OK]
    assert held.seen().exchange.status == 200


def test_upstream_refuses(probe: Probe) -> None:
    """An upstream that breaks off before its response: the 503 goes through the response callbacks"""
    seen = probe.play({}, response={"refuses": True})
    assert seen.exchange.status == 503
    assert {"response_headers", "response_body"} <= set(seen.phases)


def test_upstream_breaks_off(probe: Probe) -> None:
    """An upstream that breaks off in its response: no end of stream, then log, done, delete"""
    seen = probe.play({}, response={"fails_after": True})
    assert seen.exchange.status == 200
    assert not any(end for _, end in seen.arguments("response_body"))
    assert seen.phases[-3:] == ["log", "done", "delete"]


def test_exception(probe: Probe) -> None:
    """A Python exception in a callback: the request goes on"""
    seen = probe.play({"request_headers": [["fail"]]}, body=BODY)
    assert (seen.exchange.status, seen.exchange.upstream_body) == (200, BODY)
