"""Routes by domain and path, and what a stream makes of them."""

import pytest

from host_sim.headers import HeaderMap
from host_sim.routes import Route, find_route, without_port
from tests.host_sim.guests import CLUSTERS, Play

ROUTES = (
    Route("chat", "llm", prefix="/v1/", domains=("llm.example", "*.llm.example")),
    Route("by-header", "llm", cluster_header="x-cluster", prefix="/h"),
    Route("rest", "missing", prefix="/rest"),
)


@pytest.mark.parametrize(
    ("authority", "path", "expected"),
    [
        ("llm.example", "/v1/chat", "chat"),
        ("LLM.example:8080", "/v1/", "chat"),
        ("a.llm.example", "/v1/x?y", "chat"),
        ("xllm.example", "/v1/x", None),
        ("other", "/h", "by-header"),
        ("other", "/", None),
        ("", "", None),
    ],
)
def test_the_first_route_that_takes_a_request(authority, path, expected):
    route = find_route(ROUTES, HeaderMap({":authority": authority, ":path": path}))
    assert (route.name if route is not None else None) == expected


@pytest.mark.parametrize(
    ("authority", "host"), [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("a:b", "a:b")]
)
def test_the_host_of_an_authority(authority, host):
    assert without_port(authority) == host


def answered(path, **headers):
    play = Play(routes=ROUTES, clusters={**CLUSTERS, "other": ["10.0.0.9:80"]})
    seen = []

    def request_headers(call, stream, *arguments):
        names = [call("get_property", name) for name in (b"route_name", b"cluster_name") if path != "/none"]
        seen.extend(names)
        if path == "/h/changed":
            call("replace_header_map_value", 0, b"x-cluster", b"other")
        return 0

    sim = play.on(request_headers=request_headers).start()
    stream = sim.open_stream()
    stream.request_headers({":method": "GET", ":path": path, ":authority": "a", **headers})
    return sim.observe(stream), [name.decode() for name in seen]


def test_a_cluster_by_header():
    exchange, names = answered("/h", **{"x-cluster": "other"})
    assert (exchange.endpoint, names) == ("10.0.0.9:80", ["by-header", "other"])


def test_a_changed_header_chooses_the_cluster_anew():
    exchange, names = answered("/h/changed", **{"x-cluster": "llm"})
    assert (exchange.endpoint, names) == ("10.0.0.9:80", ["by-header", "llm"])


def test_no_route_is_404_and_a_missing_cluster_is_503():
    exchange, _ = answered("/none")
    assert (exchange.status, exchange.local_reply.details) == (404, "route_not_found")
    play = Play(routes=ROUTES).on().start()
    stream = play.open_stream()
    stream.request_headers({":method": "GET", ":path": "/rest", ":authority": "a"})
    assert (stream.local_reply.status, stream.local_reply.details) == (503, "cluster_not_found")
