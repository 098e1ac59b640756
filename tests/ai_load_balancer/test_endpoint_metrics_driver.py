"""endpoint_metrics on Higress: where requests go, what is read of them, and that nothing stops them."""

import json
from collections import Counter
from collections.abc import Sequence

import pytest
from proxywasm.enums import Status

from bench.engine_texts import triton, vllm
from host_sim import Endpoint, SteppedSimulator
from host_sim.errors import HostCallError

CLUSTER = "outbound|80||llm.dns"
ADDRESSES = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]
HEADERS = {":method": "POST", ":path": "/v1/chat/completions", ":authority": "llm", "content-type": "application/json"}
CALM = [vllm(waiting=4), vllm(waiting=0), vllm(waiting=4)]


class Gateway:
    def __init__(self, guest, texts: Sequence[str | None] = CALM, workers=None, **lb_config):
        config = {"lb_policy": "endpoint_metrics", "lb_config": lb_config}
        self.sim = SteppedSimulator(guest, "higress", config, clusters={CLUSTER: ()}, log_level=2, workers=workers)
        self.scrape(texts)

    def scrape(self, texts):
        """The host's health checks have stored these texts; None is an endpoint that is not healthy."""
        self.sim.gateway.clusters[CLUSTER].endpoints = [
            Endpoint(address, "Unhealthy" if text is None else "Healthy", text or "")
            for address, text in zip(ADDRESSES, texts, strict=True)
        ]

    def send(self, *chunks, worker=0, trailers=None, **headers):
        """A request with a body of these chunks; it is done unless it is paused."""
        stream = self.sim.open_stream(worker)
        stream.request_headers({**HEADERS, **headers}, end_of_stream=not chunks)
        for i, chunk in enumerate(chunks, 1):
            stream.request_body(chunk, end_of_stream=i == len(chunks) and trailers is None)
        if trailers is not None:
            stream.request_trailers(trailers)
        assert not stream.paused
        return stream

    def respond(self, stream, status=200):
        stream.response_headers({":status": str(status)}, end_of_stream=True)

    def reached(self, requests, status=200, **options):
        """How many of the requests reached each endpoint, by its number."""
        counts: Counter[int] = Counter()
        for _ in range(requests):
            stream = self.send(**options)
            assert stream.overridden
            counts[ADDRESSES.index(stream.endpoint.address)] += 1
            self.respond(stream, status)
        return counts

    def metric(self, name):
        return self.sim.gateway.shared.metrics.values().get(name, 0)

    def counter(self, rung, outcome):
        return self.metric(f"ailb_decisions_total.policy.endpoint_metrics.rung.{rung}.outcome.{outcome}")

    def finish(self):
        assert self.metric("proxywasm_exceptions") == 0
        assert self.metric("ailb_in_flight.policy.endpoint_metrics") == 0
        self.sim.finish()


@pytest.fixture
def make(higress_guest):
    gateways = []

    def make(*arguments, **config):
        gateways.append(Gateway(higress_guest, *arguments, **config))
        return gateways[-1]

    yield make
    for gateway in gateways:
        gateway.finish()


@pytest.mark.shows("policy endpoint_metrics")
def test_requests_go_where_the_queue_is_shortest_and_fill_it_no_higher(make):
    gateway = make()
    assert gateway.reached(3) == {1: 3}
    counts = gateway.reached(31)
    levels = [4 + counts[0], 3 + counts[1], 4 + counts[2]]
    assert max(levels) - min(levels) <= 2
    assert gateway.counter("metrics", "routed") == 34


def test_a_new_scrape_is_followed(make):
    gateway = make()
    assert gateway.reached(2) == {1: 2}
    gateway.scrape([vllm(waiting=0, scrape=1), vllm(waiting=9, scrape=1), vllm(waiting=9, scrape=1)])
    assert gateway.reached(3) == {0: 3}


@pytest.mark.shows("defect 9")
def test_an_unhealthy_endpoint_and_one_without_metrics_get_nothing(make):
    gateway = make([vllm(waiting=30), None, ""])
    assert gateway.reached(5) == {0: 5}


def test_engines_may_differ(make):
    assert make([triton(waiting=3), vllm(waiting=7), triton(waiting=8)]).reached(2) == {0: 2}


@pytest.mark.shows("defect 11")
def test_workers_count_each_others_requests(make):
    gateway = make([vllm(waiting=0)] * 3, workers=2)
    counts: Counter[int] = Counter()
    for step in range(30):
        counts += gateway.reached(1, worker=step % 2)
    assert set(counts.values()) == {10}


@pytest.mark.shows("key lb_config.metric_policy", "key lb_config.target_metric")
@pytest.mark.parametrize("config", [{"metric_policy": "least"}, {"metric_policy": "most"}])
def test_least_and_most(make, config):
    gateway = make(
        [vllm(kv_usage=usage) for usage in (0.1, 0.5, 0.9)], target_metric="vllm:kv_cache_usage_perc", **config
    )
    assert gateway.reached(9) == ({0: 9} if config["metric_policy"] == "least" else {2: 9})


@pytest.mark.shows("key lb_config.rate_limit")
def test_the_rate_limit(make):
    gateway = make(
        [vllm(kv_usage=usage) for usage in (0.1, 0.5, 0.9)],
        metric_policy="least",
        target_metric="vllm:kv_cache_usage_perc",
        rate_limit=0.5,
    )
    assert 45 <= gateway.reached(100)[0] <= 55


def test_without_adapters_no_body_is_read_and_the_headers_do_not_wait(make):
    gateway = make()
    stream = gateway.sim.open_stream()
    stream.request_headers(HEADERS, end_of_stream=False)
    assert stream.overridden
    assert not stream.paused
    stream.request_body(b'{"model":"m"}', end_of_stream=True)
    assert "proxy_get_buffer_bytes" not in gateway.sim.observe(stream).host_call_names()
    gateway.respond(stream)


WITH_ADAPTERS = [vllm(waiting=0), vllm(waiting=9, loras=["sql"], max_lora=1), vllm(loras=["x"], max_lora=1)]


@pytest.mark.parametrize("trailers", [None, {"x-sum": "1"}])
def test_the_adapter_of_the_requests_model_is_found(make, trailers):
    gateway = make(WITH_ADAPTERS)
    for _ in range(5):
        stream = gateway.send(b'{"messages":[],"mo', b'del":"sql"', b"}", trailers=trailers)
        assert stream.endpoint.address == ADDRESSES[1]
        assert gateway.sim.observe(stream).upstream_body == b'{"messages":[],"model":"sql"}'
        gateway.respond(stream)


@pytest.mark.parametrize(
    ("chunks", "headers"),
    [
        ((), {}),
        ((b"",), {}),
        ((b"not JSON",), {}),
        ((b'{"messages":[]}',), {}),
        ((b'{"model":"sql"}',), {"content-type": "application/octet-stream"}),
        ((b'{"model":"sql"}',), {"content-type": "application/grpc"}),
        ((b'{"model":"sql"}',), {"content-encoding": "gzip"}),
        ((b'{"model":"sql"}',), {"upgrade": "WebSocket"}),
    ],
)
def test_a_request_whose_model_cannot_be_read_is_routed_without_it(make, chunks, headers):
    gateway = make(WITH_ADAPTERS)
    stream = gateway.send(*chunks, **headers)
    assert stream.overridden
    assert stream.endpoint.address != ADDRESSES[1]
    gateway.respond(stream)


@pytest.mark.parametrize("pause_ms", [0, 1000])
@pytest.mark.parametrize("status", [500, 503, 429])
def test_an_endpoint_that_fails_fast_stops_attracting_requests(make, status, pause_ms):
    gateway = make()
    failures = 0
    for step in range(40):
        gateway.sim.advance(pause_ms)
        gateway.scrape([vllm(waiting=4, scrape=step), vllm(waiting=0, scrape=step), vllm(waiting=4, scrape=step)])
        stream = gateway.send()
        failing = stream.endpoint.address == ADDRESSES[1]
        failures += failing
        gateway.respond(stream, status if failing else 200)
    assert failures < 15
    gateway.sim.advance(300_000)
    gateway.scrape([vllm(waiting=4, scrape=99), vllm(waiting=0, scrape=99), vllm(waiting=4, scrape=99)])
    assert gateway.reached(3) == {1: 3}


def test_a_client_that_goes_away_and_an_answer_of_404_are_no_failures(make):
    gateway = make([vllm(waiting=0), None, None])
    for _ in range(20):
        gateway.send().abort()
        gateway.respond(gateway.send(), 404)
    gateway.scrape([vllm(waiting=0, scrape=1), vllm(waiting=2, scrape=1), vllm(waiting=2, scrape=1)])
    assert gateway.reached(2) == {0: 2}


@pytest.mark.parametrize("texts", [["", "up 1", "<html>"], [None, None, None]])
def test_without_any_metrics_the_proxy_balances(make, texts):
    gateway = make(texts)
    stream = gateway.sim.open_stream()
    stream.request_headers(HEADERS, end_of_stream=True)
    assert not stream.overridden
    assert not stream.paused
    assert gateway.counter("proxy", "no_metrics") == 1
    if stream.endpoint is not None:
        gateway.respond(stream)


@pytest.mark.parametrize("call", ["get", "set"])
def test_shared_data_that_the_host_refuses_does_not_stop_the_request(make, monkeypatch, call):
    gateway = make()

    def refuse(*_):
        raise HostCallError(Status.INTERNAL_FAILURE, "no shared data today")

    with monkeypatch.context() as patch:
        patch.setattr(gateway.sim.gateway.shared.data, call, refuse)
        stream = gateway.send()
        gateway.respond(stream, 500)
    assert not stream.overridden
    assert gateway.counter("proxy", "host_error") == 1
    assert gateway.reached(2) == {1: 2}


def test_a_request_is_routed_although_other_workers_are_always_faster(make, monkeypatch):
    gateway = make()

    def mismatch(*_):
        raise HostCallError(Status.CAS_MISMATCH, "a rival was faster")

    with monkeypatch.context() as patch:
        patch.setattr(gateway.sim.gateway.shared.data, "set", mismatch)
        stream = gateway.send()
        assert stream.endpoint.address == ADDRESSES[1]
        gateway.respond(stream, 500)
    assert gateway.counter("metrics", "routed") == 1
    assert gateway.metric("ailb_fallbacks_total.policy.endpoint_metrics.rung.metrics.reason.shared_data_contended") == 1


def test_routes_of_a_cluster_share_their_loads_and_the_key_has_one_scope(make):
    gateway = make()
    gateway.reached(1)
    assert set(gateway.sim.gateway.shared.data.items(b"vm")) == {b"ailb:{outbound|80||llm.dns}:endpoint_loads:"}


def test_requests_in_flight_are_told(make):
    gateway = make()
    streams = [gateway.send() for _ in range(3)]
    assert gateway.metric("ailb_in_flight.policy.endpoint_metrics") == 3
    streams[0].abort()
    gateway.respond(streams[1], 503)
    gateway.respond(streams[2])
    assert gateway.metric("ailb_in_flight.policy.endpoint_metrics") == 0


def decisions(gateway, stream):
    """What the log tells of a request's decision."""
    lines = [record.message for record in gateway.sim.observe(stream).logs if "decision {" in record.message]
    return [json.loads(line.partition("decision ")[2]) for line in lines]


@pytest.mark.shows("key lb_config.decision_log", "key lb_config.decision_header", "defect 13")
def test_a_decision_is_explained(make):
    gateway = make(
        [vllm(waiting=0, kv_usage=0.5), vllm(waiting=9, loras=["sql"], max_lora=1), ""],
        decision_log=True,
        decision_header="x-decision",
    )
    gateway.sim.advance(300)
    stream = gateway.send(b'{"model":"sql"}')
    gateway.respond(stream)
    [line] = decisions(gateway, stream)
    assert line == {
        "policy": "endpoint_metrics",
        "rung": "metrics",
        "outcome": "routed",
        "chosen": ADDRESSES[1],
        "age_ms": 0,
        "limited": 0,
        "of": 3,
        "candidates": {
            ADDRESSES[0]: {"queue": 0, "kv_usage": 0.5, "lora_active": 0, "lora_room": 0},
            ADDRESSES[1]: {"queue": 9, "kv_usage": 0.25, "lora_active": 1, "lora_room": 0},
            ADDRESSES[2]: {},
        },
    }
    told = gateway.sim.observe(stream).header("x-decision")
    assert told == f"policy=endpoint_metrics; rung=metrics; outcome=routed; chosen={ADDRESSES[1]}; age_ms=0; limited=0"


def test_an_explanation_tells_the_age_of_the_metrics_and_reduced_capacities(make):
    gateway = make([vllm(waiting=0), None, None], decision_log=True)
    for _ in range(30):
        gateway.reached(1, status=503)
    gateway.sim.advance(2_000)
    stream = gateway.send()
    gateway.respond(stream)
    [line] = decisions(gateway, stream)
    assert line["age_ms"] == 2_000
    assert 0 < line["candidates"][ADDRESSES[0]]["capacity"] < 0.5


def test_an_explanation_of_least_tells_the_metric(make):
    metric = "vllm:kv_cache_usage_perc"
    gateway = make(
        [vllm(kv_usage=usage) for usage in (0.3, 0.5, 0.9)],
        metric_policy="least",
        target_metric=metric,
        decision_log=True,
    )
    stream = gateway.send()
    gateway.respond(stream)
    [line] = decisions(gateway, stream)
    assert line["candidates"] == {
        ADDRESSES[0]: {"target": 0.3},
        ADDRESSES[1]: {"target": 0.5},
        ADDRESSES[2]: {"target": 0.9},
    }


def test_that_nothing_was_chosen_is_explained(make):
    gateway = make([None, None, None], decision_log=True, decision_header="x-decision")
    stream = gateway.sim.open_stream()
    stream.request_headers(HEADERS, end_of_stream=True)
    [line] = decisions(gateway, stream)
    assert (line["rung"], line["outcome"], line["chosen"], line["candidates"]) == ("proxy", "no_metrics", "", {})


def test_without_an_explainer_nothing_is_explained(make):
    gateway = make()
    stream = gateway.send()
    gateway.respond(stream)
    assert decisions(gateway, stream) == []
