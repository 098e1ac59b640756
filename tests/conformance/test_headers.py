"""Header maps: reading and changing them."""

from typing import Any

from tests.conformance.probe import OK, REQUEST_HEADERS, RESPONSE_HEADERS, Probe, Seen, refused

VALUES = [("x-a", "1"), ("x-a", "2"), ("x-b", "3")]


def on_request(probe: Probe, *operations: Any) -> tuple[list[object], Seen]:
    """The results of operations on the request headers VALUES."""
    seen = probe.play({"request_headers": operations}, headers=VALUES)
    return seen.results("request_headers"), seen


def test_get_is_case_insensitive(probe: Probe) -> None:
    """`get` ignores the case of the name"""
    results, _ = on_request(
        probe, ["get_header_map_value", REQUEST_HEADERS, "x-b"], ["get_header_map_value", REQUEST_HEADERS, "X-B"]
    )
    assert results == ["3", "3"]


def test_get_absent(probe: Probe) -> None:
    """`get` of an absent header is NOT_FOUND"""
    results, _ = on_request(probe, ["get_header_map_value", REQUEST_HEADERS, "x-absent"])
    assert results == [None]


def test_get_several(probe: Probe) -> None:
    """`get` of a header with several values returns the first"""
    results, _ = on_request(probe, ["get_header_map_value", REQUEST_HEADERS, "x-a"])
    assert results == ["1"]


def test_get_empty_name(probe: Probe) -> None:
    """The empty header name is like an absent header"""
    results, _ = on_request(probe, ["get_header_map_value", REQUEST_HEADERS, ""])
    assert results == [None]


def test_get_empty_value(probe: Probe) -> None:
    """A header with an empty value is there"""
    results, _ = on_request(
        probe,
        ["replace_header_map_value", REQUEST_HEADERS, "x-empty", ""],
        ["get_header_map_value", REQUEST_HEADERS, "x-empty"],
    )
    assert results == [OK, ""]


def test_replace(probe: Probe) -> None:
    """`replace` leaves one value"""
    results, seen = on_request(probe, ["replace_header_map_value", REQUEST_HEADERS, "x-a", "new"])
    assert (results, seen.upstream("x-a")) == ([OK], ["new"])


def test_replace_keeps_the_place(probe: Probe) -> None:
    """`replace` of a header with several values: the one that is left comes last"""
    results, _ = on_request(
        probe,
        ["replace_header_map_value", REQUEST_HEADERS, "x-a", "new"],
        ["get_header_map_pairs", REQUEST_HEADERS],
    )
    pairs = results[1]
    assert isinstance(pairs, list)
    assert [pair for pair in pairs if pair[0] in ("x-a", "x-b")] == [["x-b", "3"], ["x-a", "new"]]


def test_replace_absent(probe: Probe) -> None:
    """`replace` of an absent header adds it, with its name in lower case"""
    results, seen = on_request(
        probe,
        ["replace_header_map_value", REQUEST_HEADERS, "X-New", "n"],
        ["get_header_map_pairs", REQUEST_HEADERS],
    )
    assert isinstance(results[1], list)
    assert ["x-new", "n"] in results[1]
    assert seen.upstream("x-new") == ["n"]


def test_add(probe: Probe) -> None:
    """`add` adds a further value"""
    results, seen = on_request(probe, ["add_header_map_value", REQUEST_HEADERS, "x-b", "4"])
    assert (results, seen.upstream("x-b")) == ([OK], ["3", "4"])


def test_get_joined(probe: Probe) -> None:
    """A header that Envoy keeps in a slot of its own (user-agent): a second value is joined with a comma"""
    results, seen = on_request(
        probe,
        ["replace_header_map_value", REQUEST_HEADERS, "user-agent", "one"],
        ["add_header_map_value", REQUEST_HEADERS, "user-agent", "two"],
        ["get_header_map_value", REQUEST_HEADERS, "user-agent"],
    )
    assert (results, seen.upstream("user-agent")) == ([OK, OK, "one,two"], ["one,two"])


def test_remove(probe: Probe) -> None:
    """`remove` removes all values; of an absent header it is OK"""
    results, seen = on_request(
        probe,
        ["remove_header_map_value", REQUEST_HEADERS, "X-A"],
        ["remove_header_map_value", REQUEST_HEADERS, "x-absent"],
    )
    assert (results, seen.upstream("x-a")) == ([OK, OK], [])


def test_pairs(probe: Probe) -> None:
    """`pairs` shows every value, in order"""
    results, _ = on_request(probe, ["get_header_map_pairs", REQUEST_HEADERS])
    assert isinstance(results[0], list)
    assert [pair for pair in results[0] if pair[0] in ("x-a", "x-b")] == [["x-a", "1"], ["x-a", "2"], ["x-b", "3"]]


def test_pseudo_headers_order(probe: Probe) -> None:
    """Pseudo headers come first: `:authority`, `:path`, `:method`, `:scheme`"""
    seen = probe.play(
        {"request_headers": [["get_header_map_pairs", REQUEST_HEADERS]]}, "PUT", "/p?q=1", [(":authority", "a.example")]
    )
    assert seen.results("request_headers")[0][:4] == [
        [":authority", "a.example"],
        [":path", "/p?q=1"],
        [":method", "PUT"],
        [":scheme", "http"],
    ]


def test_host_header(probe: Probe) -> None:
    """`host` is `:authority`, for reading and for changing"""
    results, seen = on_request(
        probe,
        ["get_header_map_value", REQUEST_HEADERS, "host"],
        ["replace_header_map_value", REQUEST_HEADERS, "Host", "other"],
        ["get_header_map_value", REQUEST_HEADERS, ":authority"],
    )
    assert (results, seen.upstream(":authority")) == (["llm.example", OK, "other"], ["other"])


def test_change_path(probe: Probe) -> None:
    """`:path` and `:method` can be changed"""
    results, seen = on_request(
        probe,
        ["replace_header_map_value", REQUEST_HEADERS, ":path", "/other"],
        ["replace_header_map_value", REQUEST_HEADERS, ":method", "PUT"],
    )
    assert results == [OK, OK]
    assert (seen.upstream(":path"), seen.upstream(":method")) == (["/other"], ["PUT"])


def test_remove_method(probe: Probe) -> None:
    """Without `:method` the request is answered with 503"""
    results, seen = on_request(probe, ["remove_header_map_value", REQUEST_HEADERS, ":method"])
    assert results == [OK]
    assert (seen.exchange.status, seen.exchange.upstream_headers) == (503, None)


def test_remove_path(probe: Probe) -> None:
    """Without `:path` the request is answered with 404"""
    results, seen = on_request(probe, ["remove_header_map_value", REQUEST_HEADERS, ":path"])
    assert results == [OK]
    assert (seen.exchange.status, seen.exchange.upstream_headers) == (404, None)


def test_set_pairs(probe: Probe) -> None:
    """`set_pairs` replaces the whole map"""
    pairs = [[":authority", "b.example"], [":path", "/new"], [":method", "POST"], [":scheme", "http"], ["x-new", "1"]]
    pairs.append(["x-forwarded-proto", "http"])  # without it Envoy finds no route
    seen = probe.play(
        {
            "request_headers": [
                ["set_header_map_pairs", REQUEST_HEADERS, pairs],
                ["get_header_map_value", REQUEST_HEADERS, "x-a"],
                ["get_header_map_value", REQUEST_HEADERS, "x-new"],
                ["get_header_map_value", REQUEST_HEADERS, ":path"],
            ],
            "response_headers": [["replace_header_map_value", RESPONSE_HEADERS, "x-seen", "1"]],
        },
        headers=VALUES,
    )
    assert seen.results("request_headers") == [OK, None, "1", "/new"]
    assert seen.exchange.status == 200


def test_size(probe: Probe) -> None:
    """`size` is that of names and values, without what the serialisation adds"""
    pairs = [[":authority", "b"], [":path", "/"], [":method", "GET"], [":scheme", "http"]]
    results, _ = on_request(
        probe,
        ["set_header_map_pairs", REQUEST_HEADERS, pairs],
        ["get_header_map_size", REQUEST_HEADERS],
    )
    assert results == [OK, sum(len(name) + len(value) for name, value in pairs)]


def test_unknown_map(probe: Probe) -> None:
    """A map type that does not exist: BAD_ARGUMENT"""
    results, _ = on_request(
        probe,
        ["get_header_map_value", 99, "x-a"],
        ["get_header_map_pairs", 99],
        ["get_header_map_size", 99],
        ["add_header_map_value", 99, "x-a", "1"],
        ["replace_header_map_value", 99, "x-a", "1"],
        ["remove_header_map_value", 99, "x-a"],
        ["set_header_map_pairs", 99, []],
    )
    assert results == [refused("BAD_ARGUMENT")] * 7


def test_response_headers(probe: Probe) -> None:
    """Response headers: get, replace, add, remove in the response's callback"""
    seen = probe.play(
        {
            "response_headers": [
                ["get_header_map_value", RESPONSE_HEADERS, "x-up"],
                ["replace_header_map_value", RESPONSE_HEADERS, "x-up", "changed"],
                ["add_header_map_value", RESPONSE_HEADERS, "x-up", "more"],
                ["remove_header_map_value", RESPONSE_HEADERS, "x-gone"],
            ]
        },
        response={"headers": {"x-up": "1", "x-gone": "1"}},
    )
    assert seen.results("response_headers") == ["1", OK, OK, OK]
    assert (seen.downstream("x-up"), seen.downstream("x-gone")) == (["changed", "more"], [])


def test_change_status(probe: Probe) -> None:
    """`:status` can be read and changed"""
    seen = probe.play(
        {
            "response_headers": [
                ["get_header_map_value", RESPONSE_HEADERS, ":status"],
                ["replace_header_map_value", RESPONSE_HEADERS, ":status", "418"],
            ]
        },
        response={"status": 201},
    )
    assert (seen.results("response_headers"), seen.exchange.status) == (["201", OK], 418)


def test_request_headers_are_closed(probe: Probe) -> None:
    """Request headers that went on cannot be read in later callbacks: BAD_ARGUMENT; in on_log they can"""
    read = ["get_header_map_value", REQUEST_HEADERS, "x-b"]
    phases = ("request_body", "response_headers", "response_body", "log", "done")
    seen = probe.play({phase: [read] for phase in phases}, headers=VALUES, body=b"data")
    assert {phase: seen.results(phase) for phase in phases} == {
        "request_body": [refused("BAD_ARGUMENT")],
        "response_headers": [refused("BAD_ARGUMENT")],
        "response_body": [refused("BAD_ARGUMENT")],
        "log": ["3"],
        "done": [refused("BAD_ARGUMENT")],
    }


def test_closed_pairs(probe: Probe) -> None:
    """`pairs` of headers that went on: empty, and OK; `size`: BAD_ARGUMENT"""
    operations = [["get_header_map_pairs", REQUEST_HEADERS], ["get_header_map_size", REQUEST_HEADERS]]
    seen = probe.play({"request_body": operations}, headers=VALUES, body=b"data")
    assert seen.results("request_body") == [[], refused("BAD_ARGUMENT")]


def test_held_headers_stay_open(stopping_probe: Probe) -> None:
    """Headers that were held stay readable to the end of the stream, also after the body let them go on"""
    read = ["get_header_map_value", REQUEST_HEADERS, "x-b"]
    seen = stopping_probe.play(
        {"request_headers": [["return", 1]], "request_body": [read], "response_headers": [read], "done": [read]},
        headers=VALUES,
        body=b"data",
    )
    assert [seen.results(phase) for phase in ("request_body", "response_headers", "done")] == [["3"]] * 3


def test_continue_closes(probe: Probe) -> None:
    """continue_stream closes the request headers at once, within the callback"""
    read = ["get_header_map_value", REQUEST_HEADERS, "x-b"]
    results, _ = on_request(probe, read, ["continue_stream", 0], read)
    assert results == ["3", OK, refused("BAD_ARGUMENT")]


WRITE = [
    ["replace_header_map_value", REQUEST_HEADERS, "x-w", "1"],
    ["add_header_map_value", REQUEST_HEADERS, "x-w", "1"],
    ["remove_header_map_value", REQUEST_HEADERS, "x-b"],
    ["set_header_map_pairs", REQUEST_HEADERS, []],
]


def test_request_headers_are_fixed_later(probe: Probe) -> None:
    """Changing request headers after they went on: BAD_ARGUMENT"""
    seen = probe.play({"request_body": WRITE, "response_headers": WRITE, "log": WRITE}, headers=VALUES, body=b"data")
    for phase in ("request_body", "response_headers", "log"):
        assert seen.results(phase) == [refused("BAD_ARGUMENT")] * 4, phase


def test_request_headers_held(stopping_probe: Probe) -> None:
    """Changing request headers in the body callback while they are held: OK"""
    seen = stopping_probe.play(
        {"request_headers": [["return", 1]], "request_body": WRITE[:3]}, headers=VALUES, body=b"x"
    )
    assert seen.results("request_body") == [OK] * 3
    assert (seen.upstream("x-w"), seen.upstream("x-b")) == (["1", "1"], [])


def test_response_headers_too_early(probe: Probe) -> None:
    """Response headers and all trailers before they came: BAD_ARGUMENT"""
    operations = [["get_header_map_value", map_type, "x-a"] for map_type in (1, 2, 3)]
    operations += [["get_header_map_size", map_type] for map_type in (1, 2, 3)]
    operations += [["replace_header_map_value", map_type, "x-a", "1"] for map_type in (1, 2, 3)]
    results, _ = on_request(probe, *operations)
    assert results == [refused("BAD_ARGUMENT")] * 9


def test_response_headers_later(probe: Probe) -> None:
    """Response headers after they went on: BAD_ARGUMENT; in on_log they can be read"""
    seen = probe.play(
        {
            "response_body": [
                ["get_header_map_value", RESPONSE_HEADERS, ":status"],
                ["replace_header_map_value", RESPONSE_HEADERS, "x-w", "1"],
            ],
            "log": [
                ["get_header_map_value", RESPONSE_HEADERS, ":status"],
                ["replace_header_map_value", RESPONSE_HEADERS, "x-w", "1"],
            ],
        }
    )
    assert seen.results("response_body") == [refused("BAD_ARGUMENT")] * 2
    assert seen.results("log") == ["200", refused("BAD_ARGUMENT")]


def test_maps_in_log(probe: Probe) -> None:
    """Trailers that never came, in on_log: NOT_FOUND"""
    seen = probe.play({"log": [["get_header_map_value", 1, "x"], ["get_header_map_value", 3, "x"]]})
    assert seen.results("log") == [None, None]


def test_remove_status(probe: Probe) -> None:
    """A response whose `:status` was removed: 502"""
    seen = probe.play({"response_headers": [["remove_header_map_value", RESPONSE_HEADERS, ":status"]]})
    assert seen.exchange.status == 502
