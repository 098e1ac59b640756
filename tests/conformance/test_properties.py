"""Properties: what the host knows, and what a plugin sets."""

import pytest

from tests.conformance.probe import OK, Probe, refused

KNOWN = {
    "request\0path": "/a?q=1",
    "request\0url_path": "/a",
    "request\0query": "q=1",
    "request\0method": "PUT",
    "request\0scheme": "http",
    "request\0host": "llm.example",
    "request\0useragent": "agent",
    "request\0referer": "here",
    "request\0protocol": "HTTP/1.1",
    "request\0headers\0x-b": "3",
    "plugin_name": "conformance",
    "plugin_root_id": "conformance",
    "plugin_vm_id": "plain",
    "xds\0route_name": "chat",
    "xds\0cluster_name": "llm",
}


@pytest.mark.parametrize("path", KNOWN)
def test_known(probe: Probe, path: str) -> None:
    """What a request's headers callback can read: request, plugin and xds properties"""
    headers = [("x-b", "3"), ("user-agent", "agent"), ("referer", "here")]
    seen = probe.play({"request_headers": [["get_property", path]]}, "PUT", "/a?q=1", headers)
    assert seen.results("request_headers") == [KNOWN[path]]


@pytest.mark.parametrize("path", ["route_name", "cluster_name", "nothing", "request\0nothing", "request\0headers\0x"])
def test_absent(probe: Probe, path: str) -> None:
    """What is not there: Higress's route_name and cluster_name, unknown names"""
    assert probe.play({"request_headers": [["get_property", path]]}).results("request_headers") == [None]


def test_empty(probe: Probe) -> None:
    """The empty path: SERIALIZATION_FAILURE"""
    seen = probe.play({"request_headers": [["get_property", ""]]})
    assert seen.results("request_headers") == [refused("SERIALIZATION_FAILURE")]


def test_too_early(probe: Probe) -> None:
    """Properties of the response and of the upstream are absent in the request"""
    operations = [["get_property", path] for path in ("response\0code", "upstream\0address")]
    assert probe.play({"request_headers": operations}).results("request_headers") == [None, None]


def test_response(probe: Probe) -> None:
    """Properties of the response: code as u64, headers, size"""
    seen = probe.play(
        {
            "response_headers": [["get_property", "response\0code"], ["get_property", "response\0headers\0x-up"]],
            "log": [["get_property", "response\0code"], ["get_property", "response\0size"]],
        },
        response={"status": 201, "headers": {"x-up": "1"}},
    )
    assert seen.results("response_headers") == ["\xc9\0\0\0\0\0\0\0", "1"]
    assert seen.results("log") == ["\xc9\0\0\0\0\0\0\0", "\5\0\0\0\0\0\0\0"]


def test_request_size(probe: Probe) -> None:
    """request.size counts the body that came so far"""
    get = [["get_property", "request\0size"]]
    seen = probe.play({"request_headers": get, "response_headers": get}, body=[b"0123456789", b""])
    assert (seen.results("request_headers"), seen.results("response_headers")) == (["\0" * 8], ["\n" + "\0" * 7])


def test_upstream(probe: Probe) -> None:
    """upstream.address is the endpoint, from the response on"""
    seen = probe.play({"response_headers": [["get_property", "upstream\0address"]]})
    assert seen.results("response_headers") == [seen.exchange.endpoint]


def test_request_attributes_later(probe: Probe) -> None:
    """Properties that come from request headers are absent once the headers went on, and back in on_log"""
    get = [["get_property", "request\0path"]]
    phases = ("request_body", "response_headers", "log", "done")
    seen = probe.play(dict.fromkeys(phases, get), body=b"x")
    assert [seen.results(phase) for phase in phases] == [[None], [None], ["/"], [None]]


def test_set(probe: Probe) -> None:
    """What a plugin sets it can read, also in later callbacks, and change"""
    seen = probe.play(
        {
            "request_headers": [["get_property", "mine"], ["set_property", "mine", "1"], ["get_property", "mine"]],
            "response_headers": [["get_property", "mine"], ["set_property", "mine", "2"]],
            "log": [["get_property", "mine"], ["set_property", "mine", "3"]],
            "done": [["get_property", "mine"]],
        }
    )
    assert seen.results("request_headers") == [None, OK, "1"]
    assert (seen.results("response_headers"), seen.results("log")) == (["1", OK], ["2", OK])
    assert seen.results("done") == ["3"]


def test_set_per_stream(probe: Probe) -> None:
    """What a plugin sets belongs to its stream"""
    probe.play({"request_headers": [["set_property", "alone", "1"]]})
    assert probe.play({"request_headers": [["get_property", "alone"]]}).results("request_headers") == [None]


def test_set_known(probe: Probe) -> None:
    """Setting what the host knows: OK, and it is not changed"""
    seen = probe.play(
        {
            "request_headers": [
                ["set_property", "request\0path", "/other"],
                ["get_property", "request\0path"],
                ["set_property", "plugin_name", "other"],
                ["get_property", "plugin_name"],
            ]
        }
    )
    assert seen.results("request_headers") == [OK, "/", OK, "conformance"]


def test_set_in_root(probe: Probe) -> None:
    """set_property without a stream: NOT_FOUND"""
    seen = probe.play(
        {
            "request_headers": [
                ["set_effective_context", "$root"],
                ["set_property", "a", "1"],
                ["get_property", "request\0path"],
                ["set_effective_context", "$context"],
            ]
        }
    )
    assert seen.results("request_headers") == [OK, refused("NOT_FOUND"), None, OK]
