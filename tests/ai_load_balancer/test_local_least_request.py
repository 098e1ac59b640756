"""global_least_request on stock Envoy: counts in shared data, the endpoint in a header."""

import pytest
from ai_load_balancer.local_counts import FINGERPRINT_BYTES
from ai_load_balancer.policies.count_board import CountBoard
from ai_load_balancer.upstream import ENDPOINT_HEADER
from proxywasm.enums import Status

from host_sim import LoadError, SteppedSimulator
from host_sim.errors import HostCallError

CLUSTER = "llm"
ENDPOINTS = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]
HEADERS = {":method": "POST", ":path": "/v1/chat/completions", ":authority": "llm"}
KEY = b"ailb:{route|llm}:in_flight"


class Gateway:
    def __init__(self, guest, max_request_count=0, lease_ttl_s=60, **options):
        config = {
            "lb_policy": "global_least_request",
            "endpoints": ENDPOINTS,
            "lb_config": {"maxRequestCount": max_request_count, "lease_ttl_s": lease_ttl_s},
        }
        self.sim = SteppedSimulator(guest, "envoy", config, clusters={CLUSTER: ENDPOINTS}, **options)

    def send(self, headers=(), worker=0):
        stream = self.sim.open_stream(worker)
        stream.request_headers({**HEADERS, **dict(headers)}, end_of_stream=True)
        return stream

    def respond(self, stream):
        stream.response_headers({":status": "200"}, end_of_stream=True)

    def counts(self, key=KEY):
        """What all workers have posted."""
        value = self.sim.gateway.shared.data.items(b"vm").get(key, b"")
        now_ms = self.sim.scheduler.realtime_ns() // 1_000_000
        totals = CountBoard(len(ENDPOINTS)).totals(value[FINGERPRINT_BYTES:], now_ms)
        return {endpoint: count for endpoint, count in zip(ENDPOINTS, totals, strict=True) if count}

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


@pytest.mark.shows("policy global_least_request")
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


@pytest.mark.shows("key lb_config.maxRequestCount")
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


def test_when_rivals_are_always_faster_the_request_is_routed_and_the_board_learns_of_it_later(gateway, monkeypatch):
    stream = gateway.send()
    Rivals(gateway, monkeypatch, times=16)
    late = gateway.send({ENDPOINT_HEADER: "10.9.9.9:80"})
    assert set(sent_header(gateway, late)) < set(ENDPOINTS) - {stream.endpoint.address}
    assert gateway.counter("local", "routed") == 2
    assert sum(gateway.counts().values()) == 1
    gateway.sim.advance(1001)
    assert gateway.counts() == {stream.endpoint.address: 1, late.endpoint.address: 1}
    gateway.respond(late)
    gateway.respond(stream)
    assert gateway.counts() == {}


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


@pytest.mark.parametrize("value", [b"", b"\xff what is this"])
def test_a_value_that_is_lost_or_not_ours_is_replaced(gateway, value):
    streams = [gateway.send() for _ in range(3)]
    gateway.sim.gateway.shared.data.set(b"vm", KEY, value, 0)
    streams += [gateway.send() for _ in range(3)]
    assert gateway.counts() == dict.fromkeys(ENDPOINTS, 2)
    for stream in streams:
        gateway.respond(stream)
    assert gateway.counts() == {}


def test_workers_count_together(envoy_guest):
    gateway = Gateway(envoy_guest, max_request_count=2, workers=2)
    streams = [gateway.send(worker=i % 2) for i in range(6)]
    assert gateway.counts() == dict.fromkeys(ENDPOINTS, 2)
    for worker in (0, 1):
        assert gateway.sim.observe(gateway.send(worker=worker)).status == 429
    gateway.respond(streams.pop())
    streams.append(gateway.send(worker=0))
    for _ in range(200):
        gateway.sim.advance(1000)
    assert gateway.counts() == dict.fromkeys(ENDPOINTS, 2)  # renewed while the requests live
    for stream in streams:
        gateway.respond(stream)
    assert gateway.counts() == {}
    gateway.finish()


@pytest.mark.shows("key lb_config.lease_ttl_s", "defect 2")
def test_what_a_dead_worker_has_posted_expires(envoy_guest):
    gateway = Gateway(envoy_guest, max_request_count=1, lease_ttl_s=3)
    board = CountBoard(len(ENDPOINTS), 3000)
    gateway.respond(gateway.send())
    shared = gateway.sim.gateway.shared.data
    value = shared.items(b"vm")[KEY]
    now_ms = gateway.sim.scheduler.realtime_ns() // 1_000_000
    posted = board.post(value[FINGERPRINT_BYTES:], b"the dead", (1, 1, 1), now_ms)
    shared.set(b"vm", KEY, value[:FINGERPRINT_BYTES] + posted, 0)
    assert gateway.sim.observe(gateway.send()).status == 429
    gateway.sim.advance(3001)
    streams = [gateway.send() for _ in range(3)]
    assert gateway.sim.observe(gateway.send()).status == 429
    for stream in streams:
        gateway.respond(stream)
    gateway.finish()


@pytest.mark.shows("key endpoints")
def test_endpoints_are_required(envoy_guest):
    with pytest.raises(LoadError, match='endpoints: is required here: an array of "ip:port"'):
        SteppedSimulator(envoy_guest, "envoy", {"lb_policy": "global_least_request"})
