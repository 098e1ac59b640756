"""The cluster policies on a gateway: which cluster a request reaches, and what is left when it has ended."""

import functools
import json
from collections import Counter
from pathlib import Path

import pytest
from ai_load_balancer.policies.cluster_metrics import statistics_key
from ai_load_balancer.policies.count_board import CountBoard
from proxywasm.enums import Status
from proxywasm_build.build import Request
from proxywasm_build.cache import cached_build
from proxywasm_build.targets import HIGRESS

from host_sim import SteppedSimulator
from host_sim.errors import HostCallError

ROOT = Path(__file__).parents[2]
SERVICES = ["outbound|80||a.dns", "outbound|80||b.dns", "outbound|80||c.dns"]
HEADER = "x-higress-target-cluster"
HEADERS = {":method": "POST", ":path": "/v1/chat/completions", ":authority": "llm"}
BOARD = statistics_key("in_flight", SERVICES, 0)
OK = {":status": "200"}


@functools.cache
def built() -> Path:
    """The drivers as a module of their own."""
    sources = (ROOT / "tests" / "plugins", ROOT / "filter")
    request = Request("cluster_policies:ClusterPolicies", HIGRESS, sources)
    return cached_build(request, ROOT / "build" / "test-plugins")


class Gateway:
    def __init__(self, seed=0, **config):
        clusters = {"": ["10.0.0.9:80"], **{name: [f"10.0.0.{i}:80"] for i, name in enumerate(SERVICES)}}
        self.sim = SteppedSimulator(
            built(),
            "higress",
            json.dumps(config),
            clusters,
            seed=seed,
            cluster_name="",
            cluster_header=HEADER,
            route_name="r",
        )

    def send(self, **headers):
        stream = self.sim.open_stream()
        stream.request_headers({**HEADERS, **headers}, end_of_stream=True)
        return stream

    def sent_to(self, stream):
        return dict(self.sim.observe(stream).upstream_headers or [])[HEADER]

    def respond(self, stream, headers=OK, chunks=(b"data",)):
        stream.response_headers(headers, end_of_stream=not chunks)
        for i, chunk in enumerate(chunks, 1):
            stream.response_body(chunk, end_of_stream=i == len(chunks))

    def value(self, key):
        return self.sim.gateway.shared.data.items(b"vm").get(key)

    def in_flight(self):
        now_ms = int(self.sim.scheduler.realtime_ns() // 1_000_000)
        return list(CountBoard(3).totals(self.value(BOARD), now_ms))

    def finish(self):
        assert "proxywasm_exceptions" not in self.sim.gateway.shared.metrics.values()
        self.sim.finish()


def metrics(mode, **config):
    return Gateway(services=SERVICES, mode=mode, **config)


MODES = ["LeastBusy", "LeastTotalLatency", "LeastFirstTokenLatency", "AdaptiveScore"]


@pytest.mark.parametrize("mode", ["LeastBusy", "AdaptiveScore"])
def test_requests_spread_by_what_is_in_flight(mode):
    gateway = metrics(mode)
    streams = [gateway.send() for _ in range(9)]
    if mode == "LeastBusy":  # AdaptiveScore compares two services only
        assert Counter(map(gateway.sent_to, streams)) == dict.fromkeys(SERVICES, 3)
        assert gateway.in_flight() == [3, 3, 3]
    assert sum(gateway.in_flight()) == 9
    for stream in streams:
        gateway.respond(stream)
    assert gateway.in_flight() == [0, 0, 0]
    gateway.finish()


@pytest.mark.parametrize("mode", MODES)
def test_the_chosen_cluster_is_reached_and_a_client_s_header_is_not(mode):
    gateway = metrics(mode)
    stream = gateway.send(**{HEADER: "outbound|80||evil.dns"})
    exchange = gateway.sim.observe(stream)
    named = [value for name, value in exchange.upstream_headers or () if name == HEADER]
    assert len(named) == 1
    assert exchange.endpoint == f"10.0.0.{SERVICES.index(named[0])}:80"
    gateway.respond(stream)
    gateway.finish()


@pytest.mark.parametrize("reroute", [False, True])
def test_the_route_cache_is_kept_unless_reroute_asks(reroute):
    gateway = metrics("LeastBusy", reroute=reroute)
    stream = gateway.send()
    assert (gateway.sim.observe(stream).route_cache_clears > 0) is reroute
    gateway.respond(stream)
    gateway.finish()


@pytest.mark.parametrize("mode", MODES)
def test_every_end_is_counted_once(mode):
    """A client that leaves before the response, one that leaves within it, a refusal, a success without a body."""
    gateway = metrics(mode)
    gateway.send().abort()
    stream = gateway.send()
    stream.response_headers(OK, end_of_stream=False)
    stream.abort()
    gateway.respond(gateway.send(), {":status": "429"})
    gateway.respond(gateway.send(), {":status": "204"}, chunks=())
    gateway.sim.advance(60_000)
    assert gateway.in_flight() == [0, 0, 0]
    gateway.finish()


def test_the_service_with_the_fastest_first_token_is_preferred():
    gateway = metrics("LeastFirstTokenLatency")
    streams = [gateway.send() for _ in SERVICES]
    assert {gateway.sent_to(stream) for stream in streams} == set(SERVICES)
    by_service = {gateway.sent_to(stream): stream for stream in streams}
    for service in (SERVICES[1], SERVICES[0], SERVICES[2]):
        gateway.sim.advance(50)
        by_service[service].response_headers(OK, end_of_stream=False)
        by_service[service].response_body(b"first", end_of_stream=False)
    assert [gateway.sent_to(gateway.send()) for _ in range(5)] == [SERVICES[1]] * 5
    gateway.sim.close()


def test_the_service_with_the_lowest_total_latency_is_preferred():
    gateway = metrics("LeastTotalLatency")
    by_service = {gateway.sent_to(stream): stream for stream in [gateway.send() for _ in SERVICES]}
    for service in (SERVICES[2], SERVICES[0], SERVICES[1]):
        gateway.sim.advance(50)
        gateway.respond(by_service[service])
    assert [gateway.sent_to(gateway.send()) for _ in range(5)] == [SERVICES[2]] * 5
    gateway.sim.close()


@pytest.mark.parametrize("mode", MODES)
def test_a_service_that_fails_at_once_attracts_no_traffic(mode):
    gateway = metrics(mode)
    counts: Counter[str] = Counter()
    for _ in range(60):
        streams = [gateway.send() for _ in range(3)]
        for stream in streams:
            counts[gateway.sent_to(stream)] += 1
            if gateway.sent_to(stream) == SERVICES[0]:
                gateway.respond(stream, {":status": "503"})
        gateway.sim.advance(20)
        for stream in streams:
            if not stream.closed:
                gateway.respond(stream)
    assert counts[SERVICES[0]] < 20
    gateway.sim.close()


@pytest.mark.parametrize("mode", ["LeastFirstTokenLatency", "AdaptiveScore"])
def test_the_first_chunk_is_the_last_one_that_is_looked_at(mode):
    gateway = metrics(mode)
    stream = gateway.send()
    gateway.respond(stream, chunks=(b"one", b"two", b"three", b"four"))
    looked_at = [
        record for record in gateway.sim.observe(stream).host_calls if record.function == "proxy_set_shared_data"
    ]
    assert len(looked_at) <= 4
    gateway.finish()


@pytest.mark.parametrize("mode", MODES)
def test_a_rate_limit_holds(mode):
    gateway = metrics(mode, rate_limit=0.5)
    counts: Counter[str] = Counter()
    for _ in range(100):
        stream = gateway.send()
        counts[gateway.sent_to(stream)] += 1
        gateway.sim.advance(10)
        gateway.respond(stream)
    assert max(counts.values()) <= 51
    gateway.finish()


def test_two_workers_see_what_the_other_has_in_flight():
    first, second = metrics("LeastBusy", seed=1), metrics("LeastBusy", seed=2)
    second.sim.gateway.shared = first.sim.gateway.shared
    streams = [(gateway, gateway.send()) for gateway in (first, second) * 3]
    assert Counter(gateway.sent_to(stream) for gateway, stream in streams) == dict.fromkeys(SERVICES, 2)
    for gateway, stream in streams:
        gateway.respond(stream)
    assert first.in_flight() == [0, 0, 0]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("refused", ["get", "set"])
def test_a_host_that_refuses_does_not_stop_the_request(mode, refused, monkeypatch):
    gateway = metrics(mode)

    def refuse(*_):
        raise HostCallError(Status.INTERNAL_FAILURE, "no shared data today")

    with monkeypatch.context() as patch:
        patch.setattr(gateway.sim.gateway.shared.data, refused, refuse)
        stream = gateway.send()
        assert not stream.paused
    gateway.respond(stream)
    for _ in range(2):
        gateway.respond(gateway.send())
    assert gateway.in_flight() == [0, 0, 0]
    gateway.finish()


# --- cluster_hash


def test_a_consumer_stays_at_its_cluster():
    gateway = Gateway(clusters=[[SERVICES[0], 20], [SERVICES[1], 80]])
    for consumer, service in [("a", SERVICES[1]), ("a", SERVICES[1]), ("b", SERVICES[1]), ("foobar", SERVICES[1])]:
        stream = gateway.send(**{"x-mse-consumer": consumer})
        assert gateway.sent_to(stream) == service
        gateway.respond(stream)
    gateway.finish()


@pytest.mark.parametrize("headers", [{}, {"x-mse-consumer": ""}])
def test_a_request_without_the_header_is_refused(headers):
    gateway = Gateway(clusters=[[SERVICES[0], 100]])
    exchange = gateway.sim.observe(gateway.send(**headers))
    assert exchange.status == 403
    assert exchange.body == b"hash header required"
    gateway.finish()
