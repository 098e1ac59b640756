"""The cluster policies on a gateway: which cluster a request reaches, and what is left when it has ended."""

from collections import Counter

import pytest
from ai_load_balancer.drivers.shared_value import MAX_ATTEMPTS
from ai_load_balancer.policies.adaptive_score import AdaptiveScore, Weights
from ai_load_balancer.policies.cluster_metrics import statistics_key
from ai_load_balancer.policies.count_board import CountBoard
from ai_load_balancer.policies.latency_window import LatencyWindows
from proxywasm.enums import Status

from host_sim import SteppedSimulator
from host_sim.errors import HostCallError

from .fairness import assert_uniform

SERVICES = ["outbound|80||a.dns", "outbound|80||b.dns", "outbound|80||c.dns"]
HEADER = "x-higress-target-cluster"
HEADERS = {":method": "POST", ":path": "/v1/chat/completions", ":authority": "llm"}
OK = {":status": "200"}
QUEUE_SIZE = 100
STATISTICS_BYTES = {"LeastBusy": 0, "AdaptiveScore": len(AdaptiveScore(len(SERVICES), Weights()).empty)}
KEYS = {"LeastBusy": "LeastBusy", "AdaptiveScore": "AdaptiveScore|0.7|0.3"}


class Gateway:
    """A gateway with the filter, whose routes read the cluster header."""

    def __init__(self, guest, policy, lb_config, seed=0, **options):
        config = {"lb_type": "cluster", "lb_policy": policy, "lb_config": lb_config}
        clusters = {"": ["10.0.0.9:80"], **{name: [f"10.0.0.{i}:80"] for i, name in enumerate(SERVICES)}}
        self.sim = SteppedSimulator(
            guest, "higress", config, clusters, seed=seed, cluster_name="", cluster_header=HEADER, **options
        )
        self.mode = lb_config.get("mode")
        self.is_limited = lb_config.get("rate_limit", 1) < 1

    def send(self, **headers):
        stream = self.sim.open_stream()
        stream.request_headers({**HEADERS, **headers}, end_of_stream=True)
        return stream

    def send_by(self, worker):
        stream = self.sim.open_stream(worker)
        stream.request_headers(HEADERS, end_of_stream=True)
        return stream

    def sent_to(self, stream):
        return dict(self.sim.observe(stream).upstream_headers or [])[HEADER]

    def respond(self, stream, headers=OK, chunks=(b"data",)):
        stream.response_headers(headers, end_of_stream=not chunks)
        for i, chunk in enumerate(chunks, 1):
            stream.response_body(chunk, end_of_stream=i == len(chunks))

    def value(self):
        """What the workers share."""
        name = KEYS.get(self.mode, self.mode) + ("|limited" if self.is_limited else "")
        return self.sim.gateway.shared.data.items(b"vm").get(statistics_key(name, SERVICES, QUEUE_SIZE), b"")

    def in_flight(self):
        """By the board at the end of the mode's value."""
        board_at = STATISTICS_BYTES[self.mode] + (QUEUE_SIZE if self.is_limited else 0)
        now_ms = self.sim.scheduler.realtime_ns() / 1e6
        totals = CountBoard(len(SERVICES)).totals(self.value()[board_at:], now_ms)
        return dict(zip(SERVICES, totals, strict=True))

    def metric(self, name):
        return self.sim.gateway.shared.metrics.values().get(name, 0)

    def decisions(self, rung, outcome):
        return self.metric(f"ailb_decisions_total.policy.cluster_metrics.rung.{rung}.outcome.{outcome}")

    def finish(self):
        assert not self.metric("proxywasm_exceptions")
        assert not self.metric("ailb_in_flight.policy.cluster_metrics")
        self.sim.finish()


@pytest.fixture
def metrics(higress_guest):
    def start(mode, workers=None, seed=0, **lb_config):
        lb_config = {"mode": mode, "service_list": SERVICES, **lb_config}
        return Gateway(higress_guest, "cluster_metrics", lb_config, seed=seed, workers=workers)

    return start


MODES = ["LeastBusy", "LeastTotalLatency", "LeastFirstTokenLatency", "AdaptiveScore"]


@pytest.mark.shows("policy cluster_metrics", "key lb_config.mode")
@pytest.mark.parametrize("mode", ["LeastBusy", "AdaptiveScore"])
def test_requests_spread_by_what_is_in_flight(metrics, mode):
    gateway = metrics(mode)
    streams = [gateway.send() for _ in range(9)]
    if mode == "LeastBusy":  # AdaptiveScore compares two services only
        assert Counter(map(gateway.sent_to, streams)) == dict.fromkeys(SERVICES, 3)
    assert gateway.in_flight() == {**dict.fromkeys(SERVICES, 0), **Counter(map(gateway.sent_to, streams))}
    assert gateway.metric("ailb_in_flight.policy.cluster_metrics") == 9
    for stream in streams:
        gateway.respond(stream)
    assert not any(gateway.in_flight().values())
    assert gateway.decisions("local", "routed") == 9
    gateway.finish()


@pytest.mark.shows("key lb_config.cluster_header")
@pytest.mark.parametrize("mode", MODES)
def test_the_chosen_cluster_is_reached_and_a_client_s_header_is_not(metrics, mode):
    gateway = metrics(mode)
    stream = gateway.send(**{HEADER: "outbound|80||evil.dns"})
    exchange = gateway.sim.observe(stream)
    named = [value for name, value in exchange.upstream_headers or () if name == HEADER]
    assert len(named) == 1
    assert exchange.endpoint == f"10.0.0.{SERVICES.index(named[0])}:80"
    gateway.respond(stream)
    gateway.finish()


@pytest.mark.parametrize("mode", MODES)
def test_equals_are_drawn_uniformly(metrics, mode):
    """Nothing is in flight and nothing is known, at any of these decisions."""
    seed = 4711
    print("seed", seed)
    gateway = metrics(mode, seed=seed)
    chosen = []
    for _ in range(3000):
        stream = gateway.send()
        chosen.append(gateway.sent_to(stream))
        stream.abort()
    assert_uniform(chosen, SERVICES)
    gateway.finish()


@pytest.mark.parametrize("mode", MODES)
def test_every_end_is_counted_once(metrics, mode):
    """A client that leaves before the response, one that leaves within it, a refusal, a success without a body."""
    gateway = metrics(mode)
    gateway.send().abort()
    stream = gateway.send()
    stream.response_headers(OK, end_of_stream=False)
    stream.abort()
    gateway.respond(gateway.send(), {":status": "429"})
    gateway.respond(gateway.send(), {":status": "204"}, chunks=())
    gateway.sim.advance(60_000)
    if mode in STATISTICS_BYTES:
        assert not any(gateway.in_flight().values())
    gateway.finish()


def test_the_service_with_the_fastest_first_token_is_preferred_while_it_still_streams(metrics):
    gateway = metrics("LeastFirstTokenLatency")
    by_service = {gateway.sent_to(stream): stream for stream in [gateway.send() for _ in SERVICES]}
    assert set(by_service) == set(SERVICES)
    for service in (SERVICES[1], SERVICES[0], SERVICES[2]):
        gateway.sim.advance(50)
        by_service[service].response_headers(OK, end_of_stream=False)
        by_service[service].response_body(b"first", end_of_stream=False)
    assert [gateway.sent_to(gateway.send()) for _ in range(5)] == [SERVICES[1]] * 5
    gateway.sim.close()


def test_the_service_with_the_lowest_total_latency_is_preferred(metrics):
    gateway = metrics("LeastTotalLatency")
    by_service = {gateway.sent_to(stream): stream for stream in [gateway.send() for _ in SERVICES]}
    for service in (SERVICES[2], SERVICES[0], SERVICES[1]):
        gateway.sim.advance(50)
        gateway.respond(by_service[service])
    assert [gateway.sent_to(gateway.send()) for _ in range(5)] == [SERVICES[2]] * 5
    gateway.sim.close()


@pytest.mark.parametrize("mode", ["LeastFirstTokenLatency", "AdaptiveScore"])
def test_the_first_chunk_is_the_last_one_that_is_looked_at(metrics, mode):
    gateway = metrics(mode)
    stream = gateway.send()
    gateway.respond(stream, chunks=(b"one", b"two", b"three", b"four"))
    calls = Counter(record.function for record in gateway.sim.observe(stream).host_calls)
    assert calls["proxy_get_current_time_nanoseconds"] == 3  # the start, the first chunk, the end
    gateway.finish()


@pytest.mark.shows("key lb_config.rate_limit")
@pytest.mark.parametrize("mode", MODES)
def test_a_rate_limit_holds(metrics, mode):
    gateway = metrics(mode, rate_limit=0.5)
    counts: Counter[str] = Counter()
    for _ in range(100):
        stream = gateway.send()
        counts[gateway.sent_to(stream)] += 1
        gateway.sim.advance(10)
        gateway.respond(stream)
    assert max(counts.values()) <= 51
    gateway.finish()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("refused", ["get", "set"])
def test_a_host_that_refuses_does_not_stop_the_request(metrics, mode, refused, monkeypatch):
    gateway = metrics(mode)

    def refuse(*_):
        raise HostCallError(Status.INTERNAL_FAILURE, "no shared data today")

    with monkeypatch.context() as patch:
        patch.setattr(gateway.sim.gateway.shared.data, refused, refuse)
        stream = gateway.send()
        assert not stream.paused
    assert gateway.decisions("proxy", "host_error") == 1
    gateway.respond(stream)
    for _ in range(2):
        gateway.respond(gateway.send())
    gateway.finish()


@pytest.mark.parametrize("mode", MODES)
def test_a_host_that_refuses_at_the_end_loses_statistics_only(metrics, mode, monkeypatch):
    gateway = metrics(mode)
    stream = gateway.send()

    def refuse(*_):
        raise HostCallError(Status.INTERNAL_FAILURE, "no shared data today")

    with monkeypatch.context() as patch:
        patch.setattr(gateway.sim.gateway.shared.data, "set", refuse)
        gateway.respond(stream, {":status": "503"})
    gateway.respond(gateway.send())
    gateway.finish()


class Contended:
    """Shared data in which other workers are faster at the first `times` attempts."""

    def __init__(self, data, times):
        self.set_value = data.set
        self.times = times

    def set(self, *arguments):
        if self.times > 0:
            self.times -= 1
            raise HostCallError(Status.CAS_MISMATCH, "another worker was faster")
        self.set_value(*arguments)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("times", [1, 5, MAX_ATTEMPTS, 1000])
def test_workers_that_are_faster_delay_no_request_and_no_count_is_lost(metrics, mode, times, monkeypatch):
    gateway = metrics(mode, rate_limit=0.9)
    gateway.respond(gateway.send())
    data = gateway.sim.gateway.shared.data
    with monkeypatch.context() as patch:
        patch.setattr(data, "set", Contended(data, times).set)
        streams = [gateway.send() for _ in range(3)]
        assert all(gateway.sent_to(stream) in SERVICES for stream in streams)
    streams.append(gateway.send())
    if mode in STATISTICS_BYTES:
        assert Counter(gateway.in_flight()) == Counter(map(gateway.sent_to, streams))
    for stream in streams:
        gateway.respond(stream)
    gateway.finish()


# --- what the reference gets wrong


@pytest.mark.shows("defect 10")
@pytest.mark.parametrize("mode", MODES)
def test_defect_10_a_stream_without_response_headers_ends_well_and_tells_nothing(metrics, mode):
    gateway = metrics(mode)
    stream = gateway.send()
    gateway.sim.advance(10)
    stream.abort()
    if mode == "LeastBusy":
        assert not any(gateway.in_flight().values())
    elif mode == "AdaptiveScore":
        assert gateway.value().startswith(AdaptiveScore(len(SERVICES), Weights()).empty)
    else:
        assert LatencyWindows(len(SERVICES), QUEUE_SIZE).means(gateway.value()) == [None] * len(SERVICES)
    gateway.respond(gateway.send())
    gateway.finish()


@pytest.mark.shows("defect 10")
@pytest.mark.parametrize("mode", ["LeastTotalLatency", "LeastFirstTokenLatency", "AdaptiveScore"])
@pytest.mark.parametrize("status", ["201", "204"])
def test_defect_10_any_2xx_is_a_success(metrics, mode, status):
    """A service that answers 201 or 204 sooner than the others is preferred; one that fails is not."""
    gateway = metrics(mode, p2c_choices=3)
    for _ in range(6):
        for stream in sorted([gateway.send() for _ in SERVICES], key=gateway.sent_to):
            gateway.sim.advance(100)
            gateway.respond(stream, {":status": status if gateway.sent_to(stream) == SERVICES[0] else "200"})
    last = gateway.send()
    assert gateway.sent_to(last) == SERVICES[0]
    gateway.respond(last)
    gateway.finish()


@pytest.mark.shows("defect 10")
def test_defect_10_the_error_rate_decays(metrics):
    gateway = metrics("AdaptiveScore")
    for stream in [gateway.send() for _ in range(12)]:
        gateway.respond(stream, {":status": "503" if gateway.sent_to(stream) == SERVICES[0] else "200"})
    assert gateway.sent_to(gateway.send()) != SERVICES[0]
    gateway.sim.advance(600_000)
    counts = Counter([gateway.sent_to(gateway.send()) for _ in range(90)])
    assert counts[SERVICES[0]] > 20
    gateway.sim.close()


@pytest.mark.shows("defect 10")
@pytest.mark.parametrize("mode", MODES)
def test_defect_10_a_service_that_fails_at_once_attracts_no_traffic(metrics, mode):
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


@pytest.mark.shows("defect 11")
def test_defect_11_workers_see_what_others_have_in_flight(metrics):
    gateway = metrics("LeastBusy", workers=2)
    streams = [gateway.send_by(worker) for worker in (0, 1) * 3]
    assert Counter(map(gateway.sent_to, streams)) == dict.fromkeys(SERVICES, 2)
    for stream in streams:
        gateway.respond(stream)
    assert not any(gateway.in_flight().values())
    gateway.finish()


@pytest.mark.shows("defect 11")
@pytest.mark.parametrize("mode", ["LeastTotalLatency", "LeastFirstTokenLatency", "AdaptiveScore"])
def test_defect_11_workers_learn_from_the_requests_of_others(metrics, mode):
    gateway = metrics(mode, workers=2, p2c_choices=3)
    for _ in range(4):
        for stream in sorted([gateway.send_by(0) for _ in SERVICES], key=gateway.sent_to, reverse=True):
            gateway.sim.advance(100)
            gateway.respond(stream)
    for _ in range(5):
        stream = gateway.send_by(1)
        assert gateway.sent_to(stream) == SERVICES[2]
        stream.abort()
    gateway.finish()


@pytest.mark.shows("key lb_config.reroute", "defect 12")
@pytest.mark.parametrize("reroute", [False, True])
def test_defect_12_the_route_cache_is_kept_unless_reroute_asks(metrics, reroute):
    gateway = metrics("LeastBusy", reroute=reroute)
    stream = gateway.send()
    assert (gateway.sim.observe(stream).route_cache_clears > 0) is reroute
    gateway.respond(stream)
    gateway.finish()


# --- cluster_hash


def hashed(guest, weights, **lb_config):
    clusters = [{"cluster": cluster, "weight": weight} for cluster, weight in zip(SERVICES, weights, strict=False)]
    return Gateway(guest, "cluster_hash", {"clusters": clusters, **lb_config})


@pytest.mark.shows("policy cluster_hash", "key lb_config.clusters", "key lb_config.hash_header")
def test_a_consumer_stays_at_its_cluster(higress_guest):
    gateway = hashed(higress_guest, (20, 80))
    for consumer, service in [("a", SERVICES[1]), ("a", SERVICES[1]), ("b", SERVICES[1]), ("foobar", SERVICES[1])]:
        stream = gateway.send(**{"x-mse-consumer": consumer})
        assert gateway.sent_to(stream) == service
        gateway.respond(stream)
    assert gateway.metric("ailb_decisions_total.policy.cluster_hash.rung.header.outcome.routed") == 4
    gateway.finish()


@pytest.mark.parametrize("headers", [{}, {"x-mse-consumer": ""}])
def test_a_request_without_the_header_is_refused(higress_guest, headers):
    gateway = hashed(higress_guest, (100,))
    exchange = gateway.sim.observe(gateway.send(**headers))
    assert exchange.status == 403
    assert exchange.body == b"hash header required"
    assert gateway.metric("ailb_decisions_total.policy.cluster_hash.rung.header.outcome.rejected") == 1
    gateway.finish()
