"""endpoint_metrics on stock Envoy: the workers scrape the endpoints in turn, and decide from what any of them found."""

import json
from collections import Counter

import pytest
from ai_load_balancer.scraping import MAX_CALLS, MAX_TEXT_BYTES
from ai_load_balancer.scraping_records import FAILURES_MAX
from ai_load_balancer.upstream import ENDPOINT_HEADER
from proxywasm.enums import Status

from bench.engine_texts import vllm
from host_sim import HttpResponse, SteppedSimulator
from host_sim.errors import HostCallError

ADDRESSES = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]
CALM = [vllm(waiting=4), vllm(waiting=0), vllm(waiting=4)]
INTERVAL_MS = 1000
TICK_MS = INTERVAL_MS // 4
HEADERS = {":method": "POST", ":path": "/v1/chat/completions", ":authority": "llm", "content-type": "application/json"}
KEY = b"ailb:{llm}:scraped:/metrics:"


def response(answer):
    """What an endpoint says: a text, a status, or None for nothing at all."""
    if answer is None:
        return None
    status, body = (200, answer) if isinstance(answer, str) else (answer, "")
    return HttpResponse([(b":status", b"%d" % status)], body.encode())


class Gateway:
    def __init__(
        self, guest, answers=CALM, workers=None, endpoints=ADDRESSES, cluster="llm", gives_bodies=True, **lb_config
    ):
        self.config = {
            "lb_policy": "endpoint_metrics",
            "endpoints": endpoints,
            "lb_config": {"upstream_cluster": cluster, **lb_config},
        }
        self.sim = SteppedSimulator(
            *(guest, "envoy", self.config, {"llm": endpoints}),
            log_level=2,
            workers=workers,
            allow_on_headers_stop_iteration=gives_bodies,
        )
        self.endpoints = endpoints
        self.answers = dict(zip(endpoints, answers, strict=True))
        self.asked: Counter[str] = Counter()

    @property
    def pending(self):
        return self.sim.callouts.pending

    def answer(self, limit=10_000):
        """Answers the scrapes that wait, and those that follow on them."""
        while self.pending and limit:
            limit -= 1
            call = self.sim.deliver_http(response(self.answers[self.address(self.pending[0])]))
            self.asked[self.address(call)] += 1

    def address(self, call):
        return dict(call.headers)[ENDPOINT_HEADER.encode()].decode()

    def scrape(self, answers=None, rounds=1):
        """The endpoints say this from now on; so many rounds of scrapes."""
        if answers is not None:
            self.answers = dict(zip(self.endpoints, answers, strict=True))
        for _ in range(rounds * INTERVAL_MS // TICK_MS):
            self.sim.advance(TICK_MS)
            self.answer()

    def send(self, *chunks, worker=0, **headers):
        stream = self.sim.open_stream(worker)
        stream.request_headers({**HEADERS, **headers}, end_of_stream=not chunks)
        for i, chunk in enumerate(chunks, 1):
            stream.request_body(chunk, end_of_stream=i == len(chunks))
        assert not stream.paused
        return stream

    def respond(self, stream, status=200):
        stream.response_headers({":status": str(status)}, end_of_stream=True)

    def named(self, stream):
        """The endpoint that the request's header names, None for none."""
        values = [value for name, value in self.sim.observe(stream).upstream_headers or [] if name == ENDPOINT_HEADER]
        assert len(values) <= 1
        return values[0] if values else None

    def reached(self, requests, **options):
        """How many of the requests named each endpoint, by its number; None for none."""
        counts: Counter[int | None] = Counter()
        for _ in range(requests):
            stream = self.send(**options)
            name = self.named(stream)
            counts[None if name is None else self.endpoints.index(name)] += 1
            self.respond(stream)
        return counts

    def metric(self, name):
        return self.sim.gateway.shared.metrics.values().get(name, 0)

    def counter(self, rung, outcome):
        return self.metric(f"ailb_decisions_total.policy.endpoint_metrics.rung.{rung}.outcome.{outcome}")

    def warnings(self):
        vms = self.sim.deployment.vms
        return [record.message for vm in vms for record in vm.trace.logs if "does not answer" in record.message]

    def finish(self):
        assert self.metric("proxywasm_exceptions") == 0
        assert self.metric("ailb_in_flight.policy.endpoint_metrics") == 0
        self.answer()
        self.sim.finish()


@pytest.fixture
def make(envoy_guest):
    gateways = []

    def make(*arguments, **config):
        gateways.append(Gateway(envoy_guest, *arguments, **config))
        return gateways[-1]

    yield make
    for gateway in gateways:
        gateway.finish()


def test_requests_go_where_the_queue_is_shortest(make):
    gateway = make()
    gateway.scrape()
    assert gateway.reached(3) == {1: 3}
    assert gateway.counter("metrics", "routed") == 3


def test_before_the_first_scrape_the_proxy_balances_and_the_clients_header_is_removed(make):
    gateway = make()
    assert gateway.reached(2, **{ENDPOINT_HEADER: ADDRESSES[0]}) == {None: 2}
    assert gateway.counter("proxy", "no_metrics") == 2


def test_the_clients_header_is_replaced(make):
    gateway = make()
    gateway.scrape()
    assert gateway.reached(2, **{ENDPOINT_HEADER: ADDRESSES[0]}) == {1: 2}


@pytest.mark.shows("key lb_config.metrics_path", "key lb_config.upstream_cluster")
def test_a_scrape_asks_each_endpoint_through_its_cluster(make):
    gateway = make(metrics_path="/engine/metrics?all=1")
    gateway.sim.advance(TICK_MS)
    assert [(call.cluster, call.timeout_ms, dict(call.headers)) for call in gateway.pending] == [
        (
            "llm",
            INTERVAL_MS,
            {
                b":method": b"GET",
                b":path": b"/engine/metrics?all=1",
                b":authority": address.encode(),
                ENDPOINT_HEADER.encode(): address.encode(),
            },
        )
        for address in ADDRESSES
    ]


def test_a_new_scrape_is_followed(make):
    gateway = make()
    gateway.scrape()
    assert gateway.reached(2) == {1: 2}
    gateway.scrape([vllm(waiting=0, scrape=1), vllm(waiting=9, scrape=1), vllm(waiting=9, scrape=1)])
    assert gateway.reached(3) == {0: 3}


@pytest.mark.shows("key lb_config.scrape_interval_ms")
@pytest.mark.parametrize("interval_ms", [200, 1000, 60_000])
def test_the_endpoints_are_scraped_once_in_an_interval(make, interval_ms):
    gateway = make(scrape_interval_ms=interval_ms)
    for _ in range(40):
        gateway.sim.advance(interval_ms / 4)
        gateway.answer()
    assert gateway.asked == dict.fromkeys(ADDRESSES, 10)


def test_the_workers_scrape_in_turn_and_all_know_what_one_has_found(make):
    gateway = make(workers=3)
    gateway.scrape(rounds=10)
    # The turns of all threads, the main one included, are one: more than ten only for the very first.
    assert all(10 <= times <= 13 for times in gateway.asked.values()), gateway.asked
    for worker in range(3):
        assert gateway.reached(1, worker=worker) == {1: 1}
    gateway.scrape([vllm(waiting=0, scrape=1), vllm(waiting=9, scrape=1), vllm(waiting=9, scrape=1)])
    for worker in range(3):
        assert gateway.reached(1, worker=worker) == {0: 1}


@pytest.mark.parametrize("answer", [None, 503, 404, "x" * (MAX_TEXT_BYTES + 1)], ids=["none", "503", "404", "too long"])
def test_an_endpoint_that_does_not_answer_is_away_after_some_scrapes_and_the_others_stay(make, answer):
    gateway = make()
    gateway.scrape()
    for scrapes in range(1, FAILURES_MAX):
        gateway.scrape([vllm(waiting=4, scrape=scrapes), answer, vllm(waiting=5, scrape=scrapes)])
        assert gateway.reached(1) == {1: 1}
    assert gateway.warnings() == []
    gateway.scrape([vllm(waiting=4, scrape=8), answer, vllm(waiting=40, scrape=8)])
    assert gateway.reached(2) == {0: 2}
    gateway.scrape(rounds=3)
    assert len(gateway.warnings()) == 1
    assert gateway.warnings()[0].startswith(f"[ai-load-balancer] [nil] [nil] {ADDRESSES[1]} does not answer GET /metri")
    gateway.scrape([vllm(waiting=4, scrape=9), vllm(scrape=9), vllm(waiting=4, scrape=9)])
    assert gateway.reached(2) == {1: 2}


def test_an_endpoint_that_hangs_is_away_after_some_timeouts_and_delays_no_other(make):
    gateway = make()
    gateway.scrape([vllm(waiting=4), vllm(waiting=0), vllm(waiting=9)])
    hanging = []
    for step in range(2 * FAILURES_MAX * INTERVAL_MS // TICK_MS):
        gateway.sim.advance(TICK_MS)
        gateway.answers[ADDRESSES[0]] = vllm(waiting=4, scrape=step)
        for call in [call for call in gateway.pending if gateway.address(call) == ADDRESSES[1]]:
            gateway.pending.remove(call)
            hanging.append(call)
        gateway.answer()
    hanging[-1].done(None)
    assert gateway.reached(1) == {0: 1}
    assert len(gateway.warnings()) == 1
    assert gateway.asked[ADDRESSES[0]] >= FAILURES_MAX


@pytest.mark.shows("key lb_config.slow_start_s", "defect 4")
def test_an_endpoint_that_is_back_starts_slowly(make):
    gateway = make(slow_start_s=100)
    gateway.scrape()
    gateway.scrape([CALM[0], None, CALM[2]], rounds=FAILURES_MAX)
    gateway.scrape([vllm(waiting=4, scrape=1), vllm(scrape=1), vllm(waiting=4, scrape=1)])
    assert 1 not in gateway.reached(2)


def test_a_text_without_metrics_is_an_answer(make):
    gateway = make(["up 1\n", vllm(waiting=30), "<html>"])
    gateway.scrape()
    assert gateway.reached(3) == {1: 3}
    gateway.scrape(rounds=FAILURES_MAX)
    assert gateway.warnings() == []


def test_calls_at_once_are_bounded(make):
    endpoints = [f"10.0.1.{number}:80" for number in range(1, 101)]
    gateway = make([vllm(waiting=number) for number in range(100)], endpoints=endpoints)
    gateway.sim.advance(TICK_MS)
    while gateway.pending:
        assert len(gateway.pending) <= MAX_CALLS
        gateway.answer(limit=1)
    assert gateway.asked == dict.fromkeys(endpoints, 1)
    assert gateway.reached(1) == {0: 1}


def test_the_adapter_of_the_requests_model_is_found(make):
    gateway = make([vllm(), vllm(waiting=9, loras=["sql"], max_lora=1), vllm(loras=["x"], max_lora=1)])
    gateway.scrape()
    stream = gateway.send(b'{"messages":[],"mo', b'del":"sql"}')
    assert gateway.named(stream) == ADDRESSES[1]
    gateway.respond(stream)


@pytest.mark.parametrize("gives_bodies", [True, False])
def test_a_request_whose_body_does_not_come_is_routed_without_it(make, gives_bodies):
    adapters = [vllm(waiting=9), vllm(loras=["sql"], max_lora=1), vllm(waiting=8)]
    gateway = make(adapters, gives_bodies=gives_bodies)
    gateway.scrape()
    stream = gateway.sim.open_stream()
    stream.request_headers({**HEADERS, ENDPOINT_HEADER: ADDRESSES[0]}, end_of_stream=False)
    gone = gateway.sim.open_stream()
    gone.request_headers(HEADERS, end_of_stream=False)
    gone.abort()
    gateway.sim.advance(INTERVAL_MS - TICK_MS)
    assert stream.paused
    gateway.sim.advance(2 * TICK_MS)
    assert not stream.paused
    assert gateway.named(stream) == ADDRESSES[1]
    stream.request_body(b'{"model":"sql"}', end_of_stream=True)
    gateway.respond(stream)
    assert (gateway.counter("metrics", "routed"), gateway.counter("proxy", "incomplete")) == (1, 1)


def test_least(make):
    gateway = make(
        [vllm(kv_usage=usage) for usage in (0.5, 0.9, 0.1)],
        metric_policy="least",
        target_metric="vllm:kv_cache_usage_perc",
    )
    gateway.scrape()
    assert gateway.reached(3) == {2: 3}


def test_an_endpoint_that_fails_fast_stops_attracting_requests(make):
    gateway = make()
    failures = 0
    for step in range(10):
        gateway.scrape([vllm(waiting=4, scrape=step), vllm(waiting=0, scrape=step), vllm(waiting=4, scrape=step)])
        for _ in range(30):
            stream = gateway.send()
            failing = gateway.named(stream) == ADDRESSES[1]
            failures += failing
            gateway.respond(stream, 503 if failing else 200)
    assert 0 < failures < 300 / len(ADDRESSES)


def test_a_decision_is_explained(make):
    gateway = make([vllm(waiting=0, kv_usage=0.5), vllm(waiting=9), None], decision_log=True)
    gateway.scrape()
    stream = gateway.send()
    gateway.respond(stream)
    [line] = [record.message for record in gateway.sim.observe(stream).logs if "decision {" in record.message]
    told = json.loads(line.partition("decision ")[2])
    assert told["age_ms"] == INTERVAL_MS - TICK_MS
    assert told["candidates"] == {
        ADDRESSES[0]: {"queue": 0, "kv_usage": 0.5},
        ADDRESSES[1]: {"queue": 9, "kv_usage": 0.25},
    }


def test_a_new_configuration_knows_at_once_what_was_scraped(make):
    gateway = make()
    gateway.scrape()
    vm = gateway.sim.vm
    assert vm.configure(vm.root, json.dumps(gateway.config | {"lb_type": "endpoint"}).encode())
    assert gateway.reached(1) == {1: 1}


def test_an_unknown_cluster_harms_no_request(make):
    gateway = make(cluster="nobody")
    gateway.scrape(rounds=FAILURES_MAX + 2)
    assert gateway.reached(1) == {None: 1}
    assert len(gateway.warnings()) == len(ADDRESSES)


@pytest.mark.parametrize("call", ["get", "set"])
def test_shared_data_that_the_host_refuses_harms_nothing(make, monkeypatch, call):
    gateway = make()

    def refuse(*_):
        raise HostCallError(Status.INTERNAL_FAILURE, "no shared data today")

    with monkeypatch.context() as patch:
        patch.setattr(gateway.sim.gateway.shared.data, call, refuse)
        gateway.scrape(rounds=2)
        assert gateway.reached(1) == {None: 1}
    gateway.scrape(rounds=2)
    assert gateway.reached(1) == {1: 1}


@pytest.mark.parametrize(
    "value", [b"", b"{}", b"[5]", b'[["10.0.0.1:80"]]', b'[["10.0.0.1:80",0,1,2,3,4]]', b"[" * 9999]
)
def test_a_value_of_another_version_is_replaced(make, value):
    gateway = make()
    gateway.sim.gateway.shared.data.set(b"vm", KEY, value, 0)
    gateway.scrape()
    assert gateway.reached(1) == {1: 1}


def test_an_equal_text_is_read_once():
    gateway = Gateway("ai_load_balancer.plugin:AiLoadBalancer")
    scraper = gateway.sim.python_context()._default_driver.views
    read, texts = scraper._read, []

    def noted(text, line_end):
        texts.append(text)
        return read(text, line_end)

    scraper._read = noted
    gateway.scrape(rounds=5)
    assert len(texts) == 3
    gateway.scrape([vllm(waiting=4, scrape=1), *CALM[1:]])
    assert len(texts) == 4
    gateway.finish()


def test_what_is_shared_is_small(make):
    gateway = make([vllm(waiting=number) for number in range(3)])
    gateway.scrape()
    assert len(gateway.sim.gateway.shared.data.items(b"vm")[KEY]) < 150 * len(ADDRESSES)
