"""The endpoints that stock Envoy's admin interface lists: which count as healthy, and how workers learn of them."""

import json

import pytest
from ai_load_balancer.admin_endpoints import MAX_ANSWER_BYTES, healthy_endpoints
from ai_load_balancer.upstream import ENDPOINT_HEADER

from host_sim import HttpResponse, SteppedSimulator

ADDRESSES = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]
HEADERS = {":method": "POST", ":path": "/v1/chat/completions", ":authority": "llm"}
INTERVAL_MS = 1000


def host(address, **health):
    ip, _, port = address.rpartition(":")
    socket = {"address": ip.strip("[]"), "port_value": int(port)}
    return {
        "address": {"socket_address": socket},
        "stats": [{"name": "cx_connect_fail"}, {"value": "3", "name": "cx_total"}],
        "health_status": {"eds_health_status": "HEALTHY", **health},
        "weight": 1,
        "locality": {},
    }


def document(*hosts, cluster="llm"):
    others = {"name": "admin", "added_via_api": False, "host_statuses": [host("127.0.0.1:9901")]}
    return json.dumps({"cluster_statuses": [others, {"name": cluster, "host_statuses": list(hosts)}]})


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        ({}, True),
        ({"eds_health_status": "UNKNOWN"}, True),
        ({"failed_active_health_check": False}, True),
        ({"eds_health_status": "UNHEALTHY"}, False),
        ({"eds_health_status": "DRAINING"}, False),
        ({"eds_health_status": "DEGRADED"}, False),
        ({"failed_active_health_check": True}, False),
        ({"failed_outlier_check": True}, False),
        ({"pending_dynamic_removal": True}, False),
    ],
)
def test_what_counts_as_healthy(health, expected):
    found = healthy_endpoints(document(host("10.0.0.2:80", **health), host("10.0.0.1:80")).encode(), "llm")
    assert found == (("10.0.0.1:80", "10.0.0.2:80") if expected else ("10.0.0.1:80",))


def test_an_ipv6_address_is_written_as_envoy_reads_it():
    assert healthy_endpoints(document(host("[fd00::1]:8000")).encode(), "llm") == ("[fd00::1]:8000",)


def test_a_cluster_without_endpoints_has_none():
    assert healthy_endpoints(b'{"cluster_statuses": [{"name": "llm"}]}', "llm") == ()


@pytest.mark.parametrize(
    "answer",
    [
        *("", "admin", "[]", "{}", '{"cluster_statuses": 5}', '{"cluster_statuses": [5]}', "[" * 99_999),
        document(cluster="other"),
        '{"cluster_statuses": [{"name": "llm", "host_statuses": [{"address": {}}]}]}',
    ],
)
def test_an_answer_that_cannot_be_read_is_refused(answer):
    with pytest.raises(ValueError, match=r"."):
        healthy_endpoints(answer.encode(), "llm")


class Gateway:
    def __init__(self, guest, policy="global_least_request", workers=None, **config):
        lb_config = {"upstream_cluster": "llm", "admin_cluster": "admin", "decision_log": True}
        full = {"lb_policy": policy, "lb_config": lb_config, **config}
        clusters = {"llm": ADDRESSES, "admin": ["127.0.0.1:9901"]}
        self.sim = SteppedSimulator(guest, "envoy", full, clusters, log_level=2, workers=workers)

    def list(self, *addresses):
        """The admin interface lists these from now on, for the next tick and the one after it."""
        self.answer(HttpResponse([(b":status", b"200")], document(*map(host, addresses)).encode()))

    def answer(self, response):
        for _ in range(2):
            self.sim.advance(INTERVAL_MS)
            while self.sim.callouts.pending:
                self.asked = self.sim.deliver_http(response)

    def reached(self, requests, worker=0):
        """The endpoints that requests in flight at the same time named; None for none."""
        streams = [self.sim.open_stream(worker) for _ in range(requests)]
        for stream in streams:
            stream.request_headers({**HEADERS, ENDPOINT_HEADER: "10.9.9.9:80"}, end_of_stream=True)
        headers = [dict(self.sim.observe(stream).upstream_headers or []) for stream in streams]
        for stream in streams:
            stream.response_headers({":status": "200"}, end_of_stream=True)
        return sorted([found.get(ENDPOINT_HEADER, "none") for found in headers])

    def finish(self):
        assert "proxywasm_exceptions" not in self.sim.gateway.shared.metrics.values()
        while self.sim.callouts.pending:
            self.sim.deliver_http(None)
        self.sim.finish()


@pytest.fixture
def make(envoy_guest):
    gateways = []

    def make(**config):
        gateways.append(Gateway(envoy_guest, **config))
        return gateways[-1]

    yield make
    for gateway in gateways:
        gateway.finish()


@pytest.mark.parametrize("policy", ["global_least_request", "prefix_cache", "endpoint_hash"])
def test_until_the_first_answer_requests_go_on_unbalanced_then_to_what_is_listed(make, policy):
    gateway = make(policy=policy)
    assert gateway.reached(2) == ["none", "none"]
    gateway.list(*ADDRESSES[1:])
    assert gateway.asked.cluster == "admin"
    assert dict(gateway.asked.headers)[b":path"] == b"/clusters?format=json"
    assert gateway.reached(2) == ADDRESSES[1:]


def test_until_the_first_answer_requests_go_to_the_endpoints_of_the_configuration(make):
    gateway = make(endpoints=ADDRESSES[:1])
    assert gateway.reached(2) == ADDRESSES[:1] * 2
    gateway.list(*ADDRESSES[1:])
    assert gateway.reached(2) == ADDRESSES[1:]


def test_the_list_is_followed_and_may_be_empty(make):
    gateway = make()
    gateway.list(*ADDRESSES)
    assert gateway.reached(3) == ADDRESSES
    gateway.list(ADDRESSES[2])
    assert gateway.reached(3) == ADDRESSES[2:] * 3
    gateway.list()
    assert gateway.reached(1) == ["none"]
    gateway.list(*ADDRESSES)
    assert gateway.reached(3) == ADDRESSES


@pytest.mark.parametrize(
    "response",
    [
        None,
        HttpResponse([(b":status", b"503")], document(host(ADDRESSES[0])).encode()),
        HttpResponse([(b":status", b"200")], b"not JSON"),
        HttpResponse([(b":status", b"200")], document(cluster="another").encode()),
        HttpResponse([(b":status", b"200")], b" " * (MAX_ANSWER_BYTES + 1)),
    ],
    ids=["none", "503", "junk", "unknown cluster", "too long"],
)
def test_errors_keep_the_last_list_and_are_logged_once(make, response):
    gateway = make()
    gateway.list(*ADDRESSES[:2])
    for _ in range(3):
        gateway.answer(response)
    assert gateway.reached(2) == ADDRESSES[:2]
    warnings = [record for record in gateway.sim.vm.trace.logs if "no endpoints from admin" in record.message]
    assert len(warnings) == 1


def test_the_workers_ask_in_turn_and_all_know_the_answer(make):
    gateway = make(workers=3)
    asked = 0
    for _ in range(20):
        gateway.sim.advance(INTERVAL_MS)
        while gateway.sim.callouts.pending:
            asked += 1
            answer = document(*map(host, ADDRESSES)).encode()
            gateway.sim.deliver_http(HttpResponse([(b":status", b"200")], answer))
    assert 20 <= asked <= 23  # the first turn may be taken by several
    for worker in range(3):
        assert gateway.reached(3, worker) == ADDRESSES


def test_endpoint_metrics_scrapes_what_is_listed(make):
    gateway = make(policy="endpoint_metrics")
    gateway.list(*ADDRESSES[1:])
    named: set[str] = set()
    for _ in range(8):
        gateway.sim.advance(INTERVAL_MS / 4)
        while gateway.sim.callouts.pending:
            call = gateway.sim.deliver_http(None)
            if call.cluster == "llm":
                named.add(dict(call.headers)[ENDPOINT_HEADER.encode()].decode())
    assert named == set(ADDRESSES[1:])
