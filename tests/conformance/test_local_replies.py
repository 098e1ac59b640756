"""Local replies."""

import pytest

from tests.conformance.probe import OK, REQUEST_HEADERS, Probe

BODY = b"0123456789"
REPLY = ["send_local_response", 429, "why", "slow down", [["X-A", "1"]], -1]


@pytest.mark.parametrize("phase", ["request_headers", "request_body", "request_trailers"])
def test_in_request(probe: Probe, phase: str) -> None:
    """A local reply from each callback of the request: it goes through the response callbacks"""
    seen = probe.play({phase: [REPLY]}, body=BODY, trailers=[("x-t", "1")])
    assert seen.results(phase) == [OK]
    assert (seen.exchange.status, seen.exchange.body, seen.downstream("x-a")) == (429, b"slow down", ["1"])
    assert seen.phases[-5:] == ["response_headers", "response_body", "log", "done", "delete"]


def test_stops(probe: Probe) -> None:
    """After a local reply the request goes no further, whatever the callback returns"""
    seen = probe.play({"request_headers": [REPLY, ["return", 0]]}, body=BODY)
    assert seen.exchange.upstream_headers is None
    assert "request_body" not in seen.phases


def test_with_pause(probe: Probe) -> None:
    """A local reply and a pause: the reply is sent"""
    assert probe.play({"request_headers": [REPLY, ["return", 1]]}).exchange.status == 429


def test_second(probe: Probe) -> None:
    """A second local reply in the same callback is ignored"""
    seen = probe.play({"request_headers": [REPLY, ["send_local_response", 500, "", "second", [], -1]]})
    assert seen.results("request_headers") == [OK, OK]
    assert (seen.exchange.status, seen.exchange.body) == (429, b"slow down")


def test_deferred(probe: Probe) -> None:
    """A local reply takes effect after the callback: the headers are still open"""
    read = ["get_header_map_value", REQUEST_HEADERS, ":path"]
    assert probe.play({"request_headers": [REPLY, read]}).results("request_headers") == [OK, "/"]


def test_in_response_headers(probe: Probe) -> None:
    """A local reply from the response's headers callback replaces the response; no response callback runs again"""
    seen = probe.play({"response_headers": [REPLY]})
    assert (seen.exchange.status, seen.exchange.body, seen.downstream("x-a")) == (429, b"slow down", ["1"])
    assert seen.phases == ["request_headers", "response_headers", "log", "done", "delete"]


def test_in_response_body(probe: Probe) -> None:
    """A local reply after the response headers went on: the stream is reset"""
    seen = probe.play({"response_body": [REPLY]})
    assert seen.exchange.status == 200
    assert seen.exchange.reset_reason
    assert b"slow down" not in seen.exchange.body


def test_in_held_response(stopping_probe: Probe) -> None:
    """A local reply from the response's body callback while its headers are held replaces the response"""
    seen = stopping_probe.play({"response_headers": [["return", 1]], "response_body": [REPLY]})
    assert (seen.exchange.status, seen.exchange.body) == (429, b"slow down")


def test_from_tick(probe: Probe) -> None:
    """A local reply to a held request, from a tick"""
    seen = probe.play(
        {
            "request_headers": [["at_tick", 1, "later"], ["return", 1]],
            "later": [["set_effective_context", "$context"], REPLY],
        }
    )
    assert (seen.results("later"), seen.exchange.status) == ([OK, OK], 429)


def test_default_headers(probe: Probe) -> None:
    """A local reply with a body: content-length, and text/plain if it names no content-type"""
    seen = probe.play({"request_headers": [["send_local_response", 400, "", "body", [], -1]]})
    assert (seen.downstream("content-type"), seen.downstream("content-length")) == (["text/plain"], ["4"])


def test_own_content_type(probe: Probe) -> None:
    """A local reply's own content-type stays"""
    headers = [["content-type", "application/json"]]
    seen = probe.play({"request_headers": [["send_local_response", 400, "", "{}", headers, -1]]})
    assert seen.downstream("content-type") == ["application/json"]


def test_without_body(probe: Probe) -> None:
    """A local reply without a body: end of stream in the response's headers callback"""
    seen = probe.play({"request_headers": [["send_local_response", 204, "", "", [], -1]]})
    assert seen.arguments("response_headers")[0][1] is True
    assert (seen.exchange.status, seen.exchange.body) == (204, b"")


def test_change_reply(probe: Probe) -> None:
    """A local reply's headers can be changed in the response's callback"""
    seen = probe.play(
        {"request_headers": [REPLY], "response_headers": [["replace_header_map_value", 2, "x-a", "changed"]]}
    )
    assert seen.downstream("x-a") == ["changed"]


def test_odd_status(probe: Probe) -> None:
    """A local reply with the status 999"""
    assert probe.play({"request_headers": [["send_local_response", 999, "", "", [], -1]]}).exchange.status == 999


def test_details(probe: Probe) -> None:
    """The details of a local reply are the property response.code_details in on_log; spaces become underscores"""
    seen = probe.play(
        {
            "request_headers": [["send_local_response", 429, "too many", "", [], -1]],
            "log": [["get_property", "response\0code_details"]],
        }
    )
    assert seen.results("log") == ["too_many"]


def test_grpc(probe: Probe) -> None:
    """A local reply to a gRPC request: 200 with grpc-status and grpc-message, without a body"""
    seen = probe.play(
        {"request_headers": [["send_local_response", 403, "", "denied", [], 7]]},
        headers=[("content-type", "application/grpc")],
    )
    assert (seen.exchange.status, seen.exchange.body) == (200, b"")
    assert (seen.downstream("grpc-status"), seen.downstream("grpc-message")) == (["7"], ["denied"])
