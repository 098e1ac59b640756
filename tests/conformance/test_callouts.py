"""HTTP and gRPC callouts."""

import json
from typing import Any

import pytest

from tests.conformance.probe import CALL_BODY, CALL_HEADERS, CALL_TRAILERS, OK, REQUEST, Probe, Seen, refused

HEADERS = [[":method", "GET"], [":path", "/"], [":authority", "a"]]
RESUME = [["set_effective_context", "$context"], ["continue_stream", REQUEST]]


@pytest.mark.parametrize("missing", [":method", ":path", ":authority"])
def test_missing_header(probe: Probe, missing: str) -> None:
    """http_call without :method, :path or :authority: BAD_ARGUMENT"""
    headers = [pair for pair in HEADERS if pair[0] != missing]
    seen = probe.play({"request_headers": [["http_call", "llm", headers, "", [], 1000]]})
    assert seen.results("request_headers") == [refused("BAD_ARGUMENT")]


def test_unknown_cluster(probe: Probe) -> None:
    """http_call to an unknown cluster: BAD_ARGUMENT"""
    seen = probe.play({"request_headers": [["http_call", "nowhere", HEADERS, "", [], 1000]]})
    assert seen.results("request_headers") == [refused("BAD_ARGUMENT")]


def test_negative_timeout(probe: Probe) -> None:
    """http_call with a negative timeout: BAD_ARGUMENT"""
    seen = probe.play({"request_headers": [["http_call", "llm", HEADERS, "", [], -1]]})
    assert seen.results("request_headers") == [refused("BAD_ARGUMENT")]


def test_call_ids(probe: Probe) -> None:
    """The ids of http_calls are multiples of 4 and step by 4"""
    call = ["http_call", "llm", HEADERS, "", [], 1000]
    first, second = probe.play({"request_headers": [call, call]}).results("request_headers")
    assert first % 4 == 0
    assert second - first == 4


def call(probe: Probe, reply: list[list[Any]], upstream: str = "llm", timeout_ms: int = 5000, **response: Any) -> Seen:
    """A request that is held for a callout; `response` is what the callout's upstream is asked to do."""
    headers = [*HEADERS, ["x-response", json.dumps(response)]]
    return probe.play(
        {
            "request_headers": [["call_upstream", upstream, "reply", headers, "ping", [], timeout_ms], ["return", 1]],
            "reply": [*reply, *RESUME],
            "response_headers": [
                ["get_header_map_value", CALL_HEADERS, ":status"],
                ["get_buffer_bytes", CALL_BODY, 0, 10],
            ],
        }
    )


def test_reply(probe: Probe) -> None:
    """A reply: headers, body and trailers; get_status says 0"""
    seen = call(
        probe,
        [
            ["get_status"],
            ["get_header_map_value", CALL_HEADERS, ":status"],
            ["get_header_map_value", CALL_HEADERS, "x-up"],
            ["get_header_map_pairs", CALL_TRAILERS],
            ["get_buffer_bytes", CALL_BODY, 0, 100],
            ["get_buffer_status", CALL_BODY],
        ],
        status=201,
        headers={"x-up": "7"},
        trailers={"x-t": "1"},
    )
    assert seen.arguments("reply") == [["HttpResponse"]]
    assert seen.results("reply")[1:6] == ["201", "7", [["x-t", "1"]], "hello", [5, 0]]
    assert seen.exchange.status == 200


def test_reply_is_fixed(probe: Probe) -> None:
    """A reply's headers and body cannot be changed: BAD_ARGUMENT"""
    seen = call(
        probe, [["set_buffer_bytes", CALL_BODY, 0, 0, "x"], ["replace_header_map_value", CALL_HEADERS, "x", "1"]]
    )
    assert seen.results("reply")[:2] == [refused("BAD_ARGUMENT")] * 2


def test_reply_context(probe: Probe) -> None:
    """A reply comes with the root as the current context; the reply stays readable when it is changed"""
    path, status = ["get_header_map_value", 0, ":path"], ["get_header_map_value", CALL_HEADERS, ":status"]
    seen = call(probe, [path, ["set_effective_context", "$context"], path, status])
    assert seen.results("reply")[:4] == [refused("BAD_ARGUMENT"), OK, "/", "200"]


def test_reply_ends(probe: Probe) -> None:
    """After its callback a reply is gone: BAD_ARGUMENT for its headers, NOT_FOUND for its body"""
    seen = call(probe, [])
    assert seen.results("response_headers") == [refused("BAD_ARGUMENT"), None]


@pytest.mark.parametrize("how", ["down", "refuses"])
def test_no_connection(probe: Probe, how: str) -> None:
    """No connection, or one closed before the headers: the reply is a 503 of Envoy's own, not a failure"""
    fails = {"refuses": True} if how == "refuses" else {}
    seen = call(
        probe,
        [["get_header_map_value", CALL_HEADERS, ":status"], ["get_buffer_bytes", CALL_BODY, 0, 22]],
        "down" if how == "down" else "llm",
        **fails,
    )
    assert seen.arguments("reply") == [["HttpResponse"]]
    assert seen.results("reply")[:2] == ["503", "upstream connect error"]


def test_timeout(probe: Probe) -> None:
    """A callout that times out: the reply is a 504 of Envoy's own, not a failure"""
    seen = call(
        probe,
        [["get_header_map_value", CALL_HEADERS, ":status"], ["get_buffer_bytes", CALL_BODY, 0, 100]],
        timeout_ms=50,
        hangs=True,
    )
    assert seen.results("reply")[:2] == ["504", "upstream request timeout"]


def test_failure(probe: Probe) -> None:
    """A reply that breaks off is a failure: no headers, no body; get_status says 11 and `reset`"""
    seen = call(
        probe,
        [
            ["get_status"],
            ["get_header_map_value", CALL_HEADERS, ":status"],
            ["get_header_map_pairs", CALL_HEADERS],
            ["get_buffer_bytes", CALL_BODY, 0, 100],
        ],
        fails_after=True,
    )
    assert seen.arguments("reply") == [["HttpCallFailed"]]
    assert seen.results("reply")[:4] == [[11, "reset"], refused("BAD_ARGUMENT"), [], None]


def test_late_reply(probe: Probe) -> None:
    """A reply for a stream that is gone: the stream's context cannot be chosen any more"""
    headers = [*HEADERS, ["x-response", json.dumps({"hangs": True})]]
    playing = probe.start(
        {
            "request_headers": [["call_upstream", "llm", "reply", headers, "", [], 300], ["return", 1]],
            "reply": [["set_effective_context", "$context"]],
        }
    )
    playing.wait_for("request_headers")
    playing.cancel()
    events = playing.wait_for("reply")
    assert [event["phase"] for event in events] == ["request_headers", "log", "done", "delete", "reply"]
    assert events[-1]["results"] == [refused("BAD_ARGUMENT")]


def test_grpc_unknown_cluster(probe: Probe) -> None:
    """grpc_call and grpc_stream to an unknown cluster: PARSE_FAILURE"""
    seen = probe.play(
        {
            "request_headers": [
                ["grpc_call", "nowhere", "service", "method", [], "", 1000],
                ["grpc_stream", "nowhere", "service", "method", []],
            ]
        }
    )
    assert seen.results("request_headers") == [refused("PARSE_FAILURE")] * 2


def test_grpc_unknown_stream(probe: Probe) -> None:
    """grpc_send, grpc_cancel and grpc_close of an unknown call: BAD_ARGUMENT"""
    seen = probe.play({"request_headers": [["grpc_send", 999, "", False], ["grpc_cancel", 999], ["grpc_close", 999]]})
    assert seen.results("request_headers") == [refused("BAD_ARGUMENT")] * 3
