"""Bodies: when their callbacks run, what the buffer holds, and how it is changed."""

import pytest

from tests.conformance.probe import (
    CALL_BODY,
    OK,
    PLUGIN_CONFIGURATION,
    REQUEST_BODY,
    RESPONSE_BODY,
    VM_CONFIGURATION,
    Probe,
    refused,
)

BODY = b"0123456789"
READ = ["get_buffer_bytes", REQUEST_BODY, 0, 100]


def test_no_body(probe: Probe) -> None:
    """A request without a body: end of stream in the headers callback, no body callback"""
    seen = probe.play({}, "GET")
    assert seen.arguments("request_headers")[0][1] is True
    assert "request_body" not in seen.phases


def test_body_ends(probe: Probe) -> None:
    """A request with a body: not the headers, but the last body callback says end of stream"""
    seen = probe.play({}, body=BODY)
    assert seen.arguments("request_headers")[0][1] is False
    assert [end for _, end in seen.arguments("request_body")][-1] is True
    assert sum(size for size, _ in seen.arguments("request_body")) == len(BODY)


def test_response_without_body(probe: Probe) -> None:
    """A response without a body: end of stream in its headers callback"""
    seen = probe.play({}, response={"chunks": []})
    assert seen.arguments("response_headers")[0][1] is True
    assert "response_body" not in seen.phases


@pytest.mark.parametrize("direction", ["request", "response"])
def test_read(probe: Probe, direction: str) -> None:
    """The body is readable in its callback, whole and in parts"""
    buffer = REQUEST_BODY if direction == "request" else RESPONSE_BODY
    operations = [
        ["get_buffer_bytes", buffer, 0, 100],
        ["get_buffer_bytes", buffer, 2, 3],
        ["get_buffer_bytes", buffer, 8, 100],
        ["get_buffer_bytes", buffer, 0, 0],
        ["get_buffer_bytes", buffer, 10, 1],
        ["get_buffer_bytes", buffer, 50, 1],
        ["get_buffer_status", buffer],
    ]
    seen = probe.play({f"{direction}_body": operations}, body=BODY, response={"chunks": [BODY.decode()]})
    assert seen.results(f"{direction}_body") == ["0123456789", "234", "89", "", "", "", [10, 0]]


def test_overflowing_range(probe: Probe) -> None:
    """A range whose end does not fit in 32 bits: what there is"""
    seen = probe.play({"request_body": [["get_buffer_bytes", REQUEST_BODY, 1, 0xFFFFFFFF]]}, body=BODY)
    assert seen.results("request_body") == ["123456789"]


def test_no_buffer(probe: Probe) -> None:
    """Buffers of the stream outside of their callbacks: empty, and BAD_ARGUMENT when changed"""
    seen = probe.play(
        {
            "request_headers": [
                operation
                for buffer in (REQUEST_BODY, RESPONSE_BODY, 2, 3)
                for operation in (
                    ["get_buffer_bytes", buffer, 0, 10],
                    ["get_buffer_status", buffer],
                    ["set_buffer_bytes", buffer, 0, 0, "x"],
                )
            ]
        },
        body=BODY,
    )
    assert seen.results("request_headers") == ["", [0, 0], refused("BAD_ARGUMENT")] * 4


def test_no_callout_buffer(probe: Probe) -> None:
    """The buffer of a callout's reply when there is none: NOT_FOUND"""
    seen = probe.play(
        {
            "request_headers": [
                ["get_buffer_bytes", CALL_BODY, 0, 10],
                ["get_buffer_status", CALL_BODY],
                ["set_buffer_bytes", CALL_BODY, 0, 0, "x"],
            ]
        }
    )
    assert seen.results("request_headers") == [None, refused("NOT_FOUND"), refused("NOT_FOUND")]


def test_configuration_buffers(probe: Probe) -> None:
    """In a stream's callback the VM's configuration can be read, the plugin's cannot"""
    seen = probe.play(
        {
            "request_headers": [
                ["get_buffer_bytes", VM_CONFIGURATION, 0, 100],
                ["get_buffer_bytes", PLUGIN_CONFIGURATION, 0, 100],
                ["set_buffer_bytes", VM_CONFIGURATION, 0, 0, "x"],
            ]
        }
    )
    assert seen.results("request_headers") == ["the vm configuration", None, refused("BAD_ARGUMENT")]


def test_unknown_buffer(probe: Probe) -> None:
    """A buffer type that does not exist: BAD_ARGUMENT"""
    seen = probe.play(
        {
            "request_headers": [
                ["get_buffer_bytes", 99, 0, 1],
                ["set_buffer_bytes", 99, 0, 1, ""],
                ["get_buffer_status", 99],
            ]
        }
    )
    assert seen.results("request_headers") == [refused("BAD_ARGUMENT")] * 3


CHANGES = {
    "all": ([0, 0xFFFFFFFF, "new"], b"new"),
    "all, exactly": ([0, 10, "new"], b"new"),
    "the beginning": ([0, 4, "new"], b"new456789"),
    "prepend": ([0, 0, "new"], b"new0123456789"),
    "append": ([10, 0, "new"], b"0123456789new"),
    "append beyond the end": ([0x7FFFFFFF, 0, "new"], b"0123456789new"),
    "drop": ([0, 4, ""], b"456789"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_change(probe: Probe, change: str) -> None:
    """Changing a body: replace, prepend, append, drop"""
    arguments, expected = CHANGES[change]
    seen = probe.play({"request_body": [["set_buffer_bytes", REQUEST_BODY, *arguments], READ]}, body=[BODY, b""])
    assert seen.results("request_body") == [OK, expected.decode()]
    assert seen.exchange.upstream_body[: len(expected)] == expected


def test_change_at_the_end(probe: Probe) -> None:
    """A body that ends without data: the last callback can still append"""
    seen = probe.play({"request_body": [["set_buffer_bytes", REQUEST_BODY, 0, 0, "+"]]}, body=[BODY, b""])
    assert seen.all("request_body") == [[OK], [OK]]
    assert seen.exchange.upstream_body == b"+" + BODY + b"+"


def test_change_inside(probe: Probe) -> None:
    """Changing a body in its middle: BAD_ARGUMENT"""
    seen = probe.play({"request_body": [["set_buffer_bytes", REQUEST_BODY, 4, 2, "x"], READ]}, body=[BODY, b""])
    assert seen.results("request_body") == [refused("BAD_ARGUMENT"), BODY.decode()]


def test_change_response(probe: Probe) -> None:
    """Changing a response body"""
    seen = probe.play({"response_body": [["set_buffer_bytes", RESPONSE_BODY, 0, 5, "bye"]]})
    assert seen.results("response_body") == [OK]
    assert seen.exchange.body.startswith(b"bye")


def test_body_after_its_callback(probe: Probe) -> None:
    """The request body is empty in later callbacks"""
    seen = probe.play({"response_headers": [READ], "log": [READ]}, body=BODY)
    assert (seen.results("response_headers"), seen.results("log")) == ([""], [""])


def test_buffering(probe: Probe) -> None:
    """Pausing in the body callback buffers: the next callback sees all that came so far"""
    seen = probe.play({"request_body": [READ, ["return", 1]]}, body=[b"01234", b"56789"], trailers=[("x-t", "1")])
    sizes = [size for size, _ in seen.arguments("request_body")]
    assert sizes == sorted(sizes)
    assert sizes[-1] == 10
    assert seen.all("request_body")[-1] == ["0123456789"]
    assert seen.exchange.upstream_body == BODY


def test_streaming(probe: Probe) -> None:
    """Continuing in the body callback: the next one sees what is new only"""
    seen = probe.play({"request_body": [READ]}, body=BODY)
    assert seen.all("request_body") == [["0123456789"], [""]]


def test_buffered_change(stopping_probe: Probe) -> None:
    """Headers held, body buffered to its end, then replaced and sent on"""
    seen = stopping_probe.play(
        {
            "request_headers": [["return", 1]],
            "request_body": [["return", 1]],
            "request_trailers": [["set_buffer_bytes", REQUEST_BODY, 0, 0xFFFFFFFF, "new"]],
        },
        body=[b"01234", b"56789"],
        trailers=[("x-t", "1")],
    )
    assert seen.results("request_trailers") == [OK]
    assert seen.exchange.upstream_body == b"new"


def test_empty_end(probe: Probe) -> None:
    """The end of a body comes in a callback of its own, with 0 new bytes"""
    seen = probe.play({}, body=BODY)
    assert seen.arguments("request_body") == [[10, False], [0, True]]


def test_response_buffering(probe: Probe) -> None:
    """Pausing in the response's body callback buffers it"""
    seen = probe.play(
        {"response_body": [["return", 1]], "response_trailers": [["get_buffer_bytes", RESPONSE_BODY, 0, 100]]},
        response={"chunks": ["abc", "def"], "trailers": {"x-t": "1"}},
    )
    assert seen.results("response_trailers") == ["abcdef"]
    assert seen.exchange.body == b"abcdef"
