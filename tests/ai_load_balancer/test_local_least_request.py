"""global_least_request without Redis: counts in shared data, the endpoint in a header."""

import pytest
from ai_load_balancer.drivers.local_least_request import ENDPOINT_HEADER
from ai_load_balancer.local_counts import decode, encode
from proxywasm.enums import Status

from host_sim import LoadError, SteppedSimulator
from host_sim.errors import HostCallError

CLUSTER = "llm"
ENDPOINTS = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]
HEADERS = {":method": "POST", ":path": "/v1/chat/completions", ":authority": "llm"}
KEY = b"ailb:{route|llm}:in_flight"


class Gateway:
    def __init__(self, guest, max_request_count=0, **options):
        config = {
            "lb_policy": "global_least_request",
            "endpoints": ENDPOINTS,
            "lb_config": {"maxRequestCount": max_request_count},
        }
        self.sim = SteppedSimulator(guest, "envoy", config, clusters={CLUSTER: ENDPOINTS}, **options)

    def send(self, headers=()):
        stream = self.sim.open_stream()
        stream.request_headers({**HEADERS, **dict(headers)}, end_of_stream=True)
        return stream

    def respond(self, stream):
        stream.response_headers({":status": "200"}, end_of_stream=True)

    def counts(self, key=KEY):
        return decode(self.sim.gateway.shared.data.items(b"vm").get(key))

    def counter(self, rung, outcome):
        name = f"ailb_decisions_total.policy.global_least_request.rung.{rung}.outcome.{outcome}"
        return self.sim.gateway.shared.metrics.values().get(name, 0)

    def finish(self):
        assert "proxywasm_exceptions" not in self.sim.gateway.shared.metrics.values()
        self.sim.finish()


@pytest.fixture
def gateway(envoy_guest):
    gateway = Gateway(envoy_guest)
    yield gateway
    gateway.finish()


def sent_header(gateway, stream):
    """The values of the endpoint header as the upstream got them."""
    return [v for k, v in gateway.sim.observe(stream).upstream_headers if k == ENDPOINT_HEADER]


def test_requests_spread_over_the_endpoints_and_are_given_back(gateway):
    streams = [gateway.send() for _ in range(7)]
    assert not any(stream.paused for stream in streams)
    assert sorted(gateway.counts().values()) == [2, 2, 3]
    for stream in streams:
        (endpoint,) = sent_header(gateway, stream)
        assert stream.endpoint.address == endpoint
    for stream in streams:
        gateway.respond(stream)
    assert gateway.counts() == {}
    assert gateway.counter("local", "routed") == 7


def test_the_clients_header_is_replaced(gateway):
    streams = [gateway.send({ENDPOINT_HEADER: ENDPOINTS[0]}) for _ in range(3)]
    assert sorted(endpoint for stream in streams for endpoint in sent_header(gateway, stream)) == ENDPOINTS
    for stream in streams:
        gateway.respond(stream)


def test_a_client_that_goes_away_gives_its_count_back_once(gateway):
    stream = gateway.send()
    stream.abort()
    stream.abort()
    assert gateway.counts() == {}


def test_a_stream_that_is_done_twice_gives_back_once(gateway):
    streams = [gateway.send() for _ in range(6)]
    gateway.sim.vm.callback("proxy_on_done", streams[0].context_id, default=1)
    gateway.respond(streams[0])
    assert sum(gateway.counts().values()) == 5
    for stream in streams[1:]:
        gateway.respond(stream)


def test_above_the_limit_the_answer_is_429(envoy_guest):
    gateway = Gateway(envoy_guest, max_request_count=1)
    streams = [gateway.send() for _ in range(3)]
    exchange = gateway.sim.observe(gateway.send())
    assert (exchange.status, exchange.body) == (429, b"Exceeded maximum request limit from ai-load-balancer.")
    assert gateway.counter("local", "rejected") == 1
    gateway.respond(streams[0])
    streams[0] = gateway.send()
    for stream in streams:
        gateway.respond(stream)
    gateway.finish()


def test_a_route_without_a_name_is_counted_by_its_cluster(envoy_guest):
    gateway = Gateway(envoy_guest, route_name="")
    stream = gateway.send()
    assert sum(gateway.counts(b"ailb:{|llm}:in_flight").values()) == 1
    gateway.respond(stream)
    gateway.finish()


class Rivals:
    """Other workers of the gateway that change the counts between our read and our write, `times` times."""

    def __init__(self, gateway, monkeypatch, times):
        self.times = times
        shared = gateway.sim.gateway.shared.data
        set_data = type(shared).set

        def set_after_a_rival(vm_id, key, value, cas):
            if self.times:
                self.times -= 1
                raise HostCallError(Status.CAS_MISMATCH, "a rival was faster")
            set_data(shared, vm_id, key, value, cas)

        monkeypatch.setattr(shared, "set", set_after_a_rival)


def test_a_change_is_tried_again_when_a_rival_was_faster(gateway, monkeypatch):
    rivals = Rivals(gateway, monkeypatch, times=15)
    stream = gateway.send()
    assert rivals.times == 0
    assert sum(gateway.counts().values()) == 1
    gateway.respond(stream)
    assert gateway.counts() == {}


def test_when_rivals_are_always_faster_the_proxy_chooses_and_the_clients_header_is_gone(gateway, monkeypatch):
    Rivals(gateway, monkeypatch, times=16)
    stream = gateway.send({ENDPOINT_HEADER: ENDPOINTS[0]})
    assert sent_header(gateway, stream) == []
    assert gateway.counter("proxy", "shared_data_contended") == 1
    assert gateway.counts() == {}
    gateway.respond(stream)


def test_a_count_that_could_not_be_given_back_goes_with_the_next_change(gateway, monkeypatch):
    stream = gateway.send()
    Rivals(gateway, monkeypatch, times=16)
    gateway.respond(stream)
    assert sum(gateway.counts().values()) == 1
    others = [gateway.send() for _ in range(6)]
    assert sorted(gateway.counts().values()) == [2, 2, 2]
    for other in others:
        gateway.respond(other)
    assert gateway.counts() == {}


def test_counts_are_never_negative(gateway):
    stream = gateway.send()
    shared = gateway.sim.gateway.shared.data
    shared.set(b"vm", KEY, b"", 0)  # lost
    gateway.respond(stream)
    assert gateway.counts() == {}


def test_a_value_that_is_not_ours_is_replaced(gateway):
    gateway.sim.gateway.shared.data.set(b"vm", KEY, b"\xff what is this", 0)
    stream = gateway.send()
    assert sum(gateway.counts().values()) == 1
    gateway.respond(stream)


def test_endpoints_are_required(envoy_guest):
    with pytest.raises(LoadError, match='endpoints: is required here: an array of "ip:port"'):
        SteppedSimulator(envoy_guest, "envoy", {"lb_policy": "global_least_request"})


@pytest.mark.parametrize("counts", [{}, {"10.0.0.1:80": 3}, {"[::1]:80": 1, "10.0.0.1:80": 70_000}])
def test_counts_survive_their_encoding(counts):
    assert decode(encode(counts)) == counts


def test_nothing_in_flight_takes_no_room():
    assert encode({"10.0.0.1:80": 0}) == b""


@pytest.mark.parametrize("value", [None, b"", b"a", b"a b", b"a 1 b", b"\xff\xfe", b"a 1.5"])
def test_what_is_no_encoding_counts_nothing(value):
    assert decode(value) == {}
