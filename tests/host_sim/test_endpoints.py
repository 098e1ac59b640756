"""Which endpoint a request goes to."""

import json
from typing import Any

import pytest

from host_sim.cluster import Endpoint
from tests.host_sim.guests import CLUSTERS, REQUEST, Play, status_of

FIRST, SECOND = CLUSTERS["llm"]
HEADER = "x-gateway-destination-endpoint"


def play_one(play, headers=()):
    sim = play.start()
    stream = sim.open_stream()
    stream.request_headers({**REQUEST, **dict(headers)})
    seen = sim.observe(stream)
    stream.abort()
    sim.finish()
    return seen


def test_round_robin_over_the_healthy():
    clusters = {"llm": [FIRST, Endpoint("10.0.0.9:80", health="Unhealthy"), SECOND]}
    sim = Play(clusters=clusters).start()
    chosen = []
    for _ in range(4):
        stream = sim.open_stream()
        stream.request_headers(REQUEST)
        chosen.append(stream.endpoint.address)
    assert chosen == [FIRST, SECOND, FIRST, SECOND]
    assert not stream.overridden


def test_without_a_healthy_endpoint_503():
    assert play_one(Play(clusters={"llm": [Endpoint(FIRST, health="Degraded")]})).status == 503
    assert play_one(Play(clusters={})).local_reply.details == "cluster_not_found"


@pytest.mark.parametrize("action", [0, 1, 4])
def test_override_host_before_the_headers_go_on(action):
    def request_headers(call, *arguments):
        call("set_upstream_override_host", SECOND.encode())
        return action

    play = Play().on(request_headers=request_headers)
    sim = play.start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST)
    stream.proceed(stream.request)
    assert (stream.endpoint.address, stream.overridden) == (SECOND, True)


def test_override_host_is_too_late_after_the_headers_went_on():
    def request_body(call, *arguments):
        call("set_upstream_override_host", SECOND.encode())
        return 0

    sim = Play().on(request_body=request_body).start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST, end_of_stream=False)
    stream.request_body(b"a")
    assert (stream.endpoint.address, stream.overridden) == (FIRST, False)


def test_override_host_is_strict():
    play = Play().on(request_headers=lambda call, *a: call("set_upstream_override_host", b"10.9.9.9:80") or 0)
    seen = play_one(play)
    assert (seen.status, seen.endpoint, seen.overridden) == (503, None, False)


def test_what_is_no_address_is_refused():
    seen: list[Any] = []
    texts = (b"", b"llm", b"10.0.0.1", b"10.0.0.1:x", b"10.0.0.1:99999", b"\xff:1", b"10.0.0.1:80", b"[::1]:80")

    def request_headers(call, *arguments):
        seen.extend(status_of(call, "set_upstream_override_host", text) for text in texts)
        return 0

    play_one(Play().on(request_headers=request_headers))
    assert seen == ["BAD_ARGUMENT"] * 6 + ["OK"] * 2


@pytest.mark.parametrize(
    ("value", "endpoint", "overridden"),
    [
        (SECOND, SECOND, True),
        (f"10.9.9.9:80, {SECOND}", SECOND, True),
        ("10.9.9.9:80", FIRST, False),  # a value that is no endpoint of the cluster uses the fallback policy
    ],
)
def test_envoy_takes_the_endpoint_from_the_header(value, endpoint, overridden):
    marker = "proxy_abi_version_0_2_1"
    seen = play_one(Play("envoy", marker), {HEADER: value})
    assert (seen.endpoint, seen.overridden) == (endpoint, overridden)
    assert play_one(Play("higress"), {HEADER: SECOND}).overridden is False


def test_with_two_values_envoy_uses_the_clients():
    add = Play("envoy", "proxy_abi_version_0_2_1").on(
        request_headers=lambda call, *a: call("add_header_map_value", 0, HEADER.encode(), FIRST.encode()) or 0
    )
    assert play_one(add, {HEADER: SECOND}).endpoint == SECOND


def test_upstream_hosts_are_pairs_with_json():
    seen: list[Any] = []

    def request_headers(call, *arguments):
        seen.extend(call("get_upstream_hosts"))
        return 0

    endpoints = [Endpoint(FIRST, metrics="vllm:num_requests_running 1\n"), Endpoint(SECOND, health="Unhealthy")]
    play_one(Play(clusters={"llm": endpoints}).on(request_headers=request_headers))
    assert [(key.decode(), json.loads(value)) for key, value in seen] == [
        (FIRST, {"health_status": "Healthy", "metrics": "vllm:num_requests_running 1\n"}),
        (SECOND, {"health_status": "Unhealthy"}),
    ]


def test_the_cluster_can_come_from_a_header_and_is_cached():
    """Any change of a request header clears the route cache, in stock Envoy 1.40 too with an ABI up to 0_2_1."""

    def play(target, then):
        def request_headers(call, *arguments):
            call("get_property", b"cluster_name" if target == "higress" else b"xds\0cluster_name")
            call("replace_header_map_value", 0, b"x-cluster", b"other")
            then(call)
            return 0

        clusters = {**CLUSTERS, "other": ["10.1.0.1:80"]}
        options = {"clusters": clusters, "cluster_header": "x-cluster"}
        return play_one(Play(target, "proxy_abi_version_0_2_1", **options).on(request_headers=request_headers))

    def nothing(call):
        pass

    def clear(call):
        call("call_foreign_function", b"clear_route_cache", b"")

    assert play("envoy", nothing).endpoint == "10.1.0.1:80"
    assert play("envoy", clear).endpoint == "10.1.0.1:80"
    assert play("higress", nothing).endpoint == "10.1.0.1:80"
    assert play("higress", nothing).route_cache_clears == 1


def test_a_changed_request_header_keeps_the_route_cache_if_it_is_switched_off():
    """Any change of a request header clears the route cache in Higress unless clear_route_cache was set to off."""

    def request_headers(call, *arguments):
        call("set_property", b"clear_route_cache", b"off")
        call("replace_header_map_value", 0, b"x", b"1")
        return 0

    assert play_one(Play().on(request_headers=request_headers)).route_cache_clears == 0
