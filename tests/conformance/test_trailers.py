"""Trailers."""

from tests.conformance.probe import OK, REQUEST_TRAILERS, RESPONSE_TRAILERS, Probe, refused

MAPS = {"request": REQUEST_TRAILERS, "response": RESPONSE_TRAILERS}
CHANGE = [
    ["get_header_map_value", REQUEST_TRAILERS, "x-t"],
    ["replace_header_map_value", REQUEST_TRAILERS, "x-t", "changed"],
    ["add_header_map_value", REQUEST_TRAILERS, "x-more", "1"],
]


def for_response(operations: list[list[object]]) -> list[list[object]]:
    return [[name, RESPONSE_TRAILERS, *rest] for name, _, *rest in operations]


def test_request_trailers(probe: Probe) -> None:
    """Request trailers can be read and changed in their callback"""
    seen = probe.play({"request_trailers": CHANGE}, body=b"data", trailers=[("x-t", "1")])
    assert seen.arguments("request_trailers") == [[1]]
    assert seen.results("request_trailers") == ["1", OK, OK]
    assert sorted(seen.exchange.upstream_trailers) == [("x-more", "1"), ("x-t", "changed")]


def test_response_trailers(probe: Probe) -> None:
    """Response trailers can be read and changed in their callback"""
    seen = probe.play({"response_trailers": for_response(CHANGE)}, response={"trailers": {"x-t": "1"}})
    assert seen.arguments("response_trailers") == [[1]]
    assert seen.results("response_trailers") == ["1", OK, OK]
    assert sorted(seen.exchange.trailers) == [("x-more", "1"), ("x-t", "changed")]


def test_end_of_stream_with_trailers(probe: Probe) -> None:
    """With trailers no headers or body callback says end of stream"""
    seen = probe.play({}, body=b"data", trailers=[("x-t", "1")], response={"trailers": {"x-t": "1"}})
    for phase in ("request_headers", "request_body", "response_headers", "response_body"):
        assert not any(arguments[-1] for arguments in seen.arguments(phase)), phase
    assert seen.phases.count("request_trailers") == seen.phases.count("response_trailers") == 1


def test_no_trailers(probe: Probe) -> None:
    """Without trailers there is no trailers callback"""
    seen = probe.play({}, body=b"data")
    assert not {"request_trailers", "response_trailers"} & set(seen.phases)


def test_body_is_read_in_trailers(probe: Probe) -> None:
    """A body that was held is readable in the trailers callback"""
    seen = probe.play(
        {"request_body": [["return", 1]], "request_trailers": [["get_buffer_bytes", 0, 0, 100]]},
        body=b"data",
        trailers=[("x-t", "1")],
    )
    assert seen.results("request_trailers") == ["data"]
    assert seen.exchange.upstream_body == b"data"


def test_held_trailers(probe: Probe) -> None:
    """A request held in its trailers goes on when it is continued"""
    seen = probe.play(
        {
            "request_trailers": [["at_tick", 1, "later"], ["return", 1]],
            "later": [["set_effective_context", "$context"], ["continue_stream", 0]],
        },
        body=b"data",
        trailers=[("x-t", "1")],
    )
    assert seen.results("later") == [OK, OK]
    assert (seen.exchange.status, seen.exchange.upstream_trailers) == (200, [("x-t", "1")])


def test_trailers_too_late(probe: Probe) -> None:
    """Changing trailers after they went on: BAD_ARGUMENT"""
    seen = probe.play({"response_headers": CHANGE[1:2], "log": CHANGE[1:2]}, body=b"data", trailers=[("x-t", "1")])
    assert seen.results("response_headers") == [refused("BAD_ARGUMENT")]
    assert seen.results("log") == [refused("BAD_ARGUMENT")]


def test_add_trailers(probe: Probe) -> None:
    """Trailers can be made in the callback for the end of the body, not before"""
    make = {f"{name}_body": [["add_header_map_value", number, "x-new", "1"]] for name, number in MAPS.items()}
    seen = probe.play(make, body=[b"data", b""])
    assert seen.all("request_body") == [[refused("BAD_ARGUMENT")], [OK]]
    assert seen.all("response_body") == [[refused("BAD_ARGUMENT")], [OK]]
    assert (seen.exchange.upstream_trailers, seen.exchange.trailers) == ([("x-new", "1")], [("x-new", "1")])
    assert not {"request_trailers", "response_trailers"} & set(seen.phases)
