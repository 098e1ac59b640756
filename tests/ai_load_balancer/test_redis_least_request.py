"""global_least_request with Redis, step by step. Each test runs natively and in the module."""

import json

import pytest
from proxywasm.enums import Status

from host_sim import Endpoint, HostCallError, LoadError, RespError, SteppedSimulator

from .stepped_gateway import ENDPOINTS, REDIS, Gateway, lease_of

HOLD = 4  # StopAllIterationAndWatermark


@pytest.fixture
def gateway(higress_guest):
    gateway = Gateway(higress_guest)
    yield gateway
    gateway.finish()


@pytest.mark.shows("policy global_least_request")
def test_a_request_is_held_routed_and_given_back(gateway):
    stream = gateway.send()
    assert stream.paused
    assert gateway.sim.observe(stream).actions[0] == ("proxy_on_request_headers", HOLD)
    acquire = gateway.reply([2, 1])
    scope = "ailb:{route|outbound|80||llm.dns}:"
    assert [part.decode() for part in acquire[2:9]] == [
        "3", scope + "in_flight", scope + "leases", scope + "lease_expiries", "1", "60000", "0",
    ]  # fmt: skip
    assert [part.decode() for part in acquire[13:]] == ENDPOINTS
    assert not stream.paused
    assert (stream.endpoint.address, stream.overridden) == (ENDPOINTS[1], True)
    assert gateway.commands() == []
    gateway.respond(stream)
    assert gateway.release() == lease_of(acquire)
    assert gateway.counter("redis", "routed") == 1


def test_a_request_with_a_body_reaches_the_endpoint_whole(gateway):
    stream = gateway.send(end_of_stream=False)
    stream.request_body(b"one", end_of_stream=False)
    assert stream.paused
    gateway.reply([3, 1])
    stream.request_body(b"two", end_of_stream=True)
    assert stream.upstream.body == b"onetwo"
    assert stream.endpoint.address == ENDPOINTS[2]
    gateway.respond(stream)
    gateway.release()


def test_every_lease_has_its_own_id(gateway):
    streams = [gateway.send() for _ in range(3)]
    leases = [lease_of(gateway.reply([1, i + 1])) for i in range(3)]
    assert len(set(leases)) == 3
    for stream in streams:
        gateway.respond(stream)
    assert [gateway.release() for _ in streams] == leases


def test_every_request_draws_anew_among_equals(gateway):
    streams = [gateway.send() for _ in range(5)]
    numbers = {gateway.reply([1, 1])[12] for _ in streams}
    assert len(numbers) == 5
    for stream in streams:
        gateway.respond(stream)
        gateway.release()


def test_a_stream_that_is_done_twice_gives_back_once(gateway):
    stream = gateway.send()
    gateway.reply([1, 1])
    gateway.sim.vm.callback("proxy_on_done", stream.context_id, default=1)
    gateway.respond(stream)
    gateway.release()


def test_redis_learns_the_scripts_when_it_does_not_know_them(gateway):
    stream = gateway.send()
    by_sha = gateway.reply(RespError("NOSCRIPT No matching script. Please use EVAL."))
    assert stream.paused
    by_source = gateway.reply([1, 1])
    assert by_source[0] == b"EVAL"
    assert by_source[1].startswith(b"-- Takes a lease")
    assert by_source[2:] == by_sha[2:]
    assert stream.endpoint.address == ENDPOINTS[0]
    gateway.respond(stream)
    gateway.reply(RespError("NOSCRIPT"))
    assert gateway.reply(1)[:1] == [b"EVAL"]


def test_a_client_that_goes_away_before_the_reply_leaves_nothing_behind(gateway):
    stream = gateway.send()
    stream.abort()
    acquire = gateway.reply([1, 1])
    assert gateway.release() == lease_of(acquire)
    assert gateway.counter("redis", "client_gone") == 1


def test_a_client_that_goes_away_after_the_reply_gives_back_once(gateway):
    stream = gateway.send()
    acquire = gateway.reply([1, 1])
    stream.abort()
    assert gateway.release() == lease_of(acquire)


def test_a_client_that_goes_away_while_redis_learns_the_script(gateway):
    stream = gateway.send()
    gateway.reply(RespError("NOSCRIPT"))
    stream.abort()
    acquire = gateway.reply([1, 1])
    assert gateway.release() == lease_of(acquire)


@pytest.mark.shows("defect 2")
def test_a_refused_override_lets_the_request_through_and_gives_back(higress_guest):
    gateway = Gateway(higress_guest, endpoints=["not-an-ip:80"])
    stream = gateway.send()
    acquire = gateway.reply([1, 1])
    assert not stream.paused
    assert not stream.overridden
    assert gateway.release() == lease_of(acquire)
    assert gateway.counter("proxy", "override_refused") == 1
    gateway.respond(stream)
    gateway.finish()


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        ({"endpoints": []}, "no_healthy_endpoint"),
        ({"endpoints": [Endpoint(ENDPOINTS[0], health="Unhealthy")]}, "no_healthy_endpoint"),
        ({"route_name": ""}, "no_route"),
    ],
)
def test_what_cannot_be_asked_does_not_hold_the_request(higress_guest, options, outcome):
    gateway = Gateway(higress_guest, **options)
    stream = gateway.send()
    assert gateway.sim.observe(stream).actions[0] == ("proxy_on_request_headers", 0)
    assert gateway.counter("proxy", outcome) == 1
    stream.abort()
    gateway.finish()


def test_a_failure_of_ours_does_not_hold_the_request(gateway, monkeypatch):
    def refuse(*_):
        raise HostCallError(Status.INTERNAL_FAILURE, "no metrics today")

    stream = gateway.send()
    monkeypatch.setattr(gateway.sim.gateway.shared.metrics, "find", refuse)
    gateway.reply([1, 1])
    assert not stream.paused
    gateway.respond(stream)
    gateway.release()


def test_only_healthy_endpoints_are_candidates(higress_guest):
    endpoints = [Endpoint(ENDPOINTS[0], "Unhealthy"), Endpoint(ENDPOINTS[1]), Endpoint(ENDPOINTS[2], "Degraded")]
    gateway = Gateway(higress_guest, endpoints=endpoints)
    stream = gateway.send()
    assert gateway.reply([1, 1])[13:] == [ENDPOINTS[1].encode()]
    assert stream.endpoint.address == ENDPOINTS[1]
    gateway.respond(stream)
    gateway.release()
    gateway.finish()


@pytest.mark.shows("key lb_config.maxRequestCount")
def test_above_the_limit_the_answer_is_429(higress_guest):
    gateway = Gateway(higress_guest, max_request_count=5)
    stream = gateway.send()
    acquire = gateway.reply([0, 5])
    assert acquire[8] == b"5"
    exchange = gateway.sim.observe(stream)
    assert exchange.status == 429
    assert exchange.body == b"Exceeded maximum request limit from ai-load-balancer."
    assert exchange.header("retry-after") == "1"
    assert "proxy_continue_stream" not in exchange.host_call_names()
    assert gateway.counter("redis", "rejected") == 1
    gateway.finish()


def test_leases_are_renewed_while_their_requests_live(gateway):
    streams = [gateway.send() for _ in range(2)]
    leases = [lease_of(gateway.reply([i + 1, 1])) for i in range(2)]
    gateway.sim.advance(20_100)
    renew = gateway.reply(0)
    assert renew[6:] == [b"60000", leases[0], b"1", ENDPOINTS[0].encode(), leases[1], b"1", ENDPOINTS[1].encode()]
    gateway.respond(streams[0])
    gateway.release()
    gateway.sim.advance(20_100)
    assert gateway.reply(0)[7] == leases[1]
    gateway.respond(streams[1])
    gateway.release()
    gateway.sim.advance(20_100)
    assert gateway.commands() == []


def test_renewals_are_sent_in_bounded_batches(gateway):
    streams = [gateway.send() for _ in range(300)]
    for _ in streams:
        gateway.reply([1, 1])
    gateway.sim.advance(20_100)
    assert [len(gateway.reply(0)) for _ in gateway.commands()] == [7 + 3 * 256, 7 + 3 * 44]
    for stream in streams:
        gateway.respond(stream)
        gateway.release()


def test_a_release_that_fails_is_logged_and_the_lease_expires(gateway):
    stream = gateway.send()
    gateway.reply([1, 1])
    gateway.respond(stream)
    gateway.reply(RespError("LOADING Redis is loading the dataset in memory"))
    assert gateway.commands() == []
    gateway.sim.advance(20_100)
    assert gateway.commands() == []  # what was given back is not renewed


def test_the_buffering_of_the_host_is_switched_off(gateway):
    (init,) = [record for record in gateway.sim.vm.trace.host_calls if record.function == "proxy_redis_init"]
    assert init.arguments[0] == f"{REDIS}?db=0&buffer_flush_timeout=0&max_buffer_size_before_flush=0".encode()


def test_a_bad_configuration_is_refused_with_every_error(higress_guest):
    with pytest.raises(LoadError) as caught:
        SteppedSimulator(higress_guest, "higress", {"_plugin_id_": "lb-1", "lb_policy": "x", "lb_config": {}})
    for key in ("lb_policy", "lb_config.serviceFQDN", "lb_config.servicePort"):
        assert f"[ai-load-balancer] [nil] [nil] configuration: {key}: " in str(caught.value)


def configure(gateway, config):
    """A further configuration of the same root context: what on_configure returns."""
    vm = gateway.sim.vm
    return vm.configure(vm.root, json.dumps(config).encode())


def test_a_bad_second_configuration_keeps_the_running_one(gateway):
    assert configure(gateway, {"lb_policy": "nonsense"}) == 0
    stream = gateway.send()
    gateway.reply([1, 1])
    gateway.respond(stream)
    gateway.release()


def test_a_second_configuration_takes_over_and_keeps_the_leases(gateway):
    stream = gateway.send()
    lease = lease_of(gateway.reply([1, 1]))
    gateway.config["lb_config"]["maxRequestCount"] = 9
    assert configure(gateway, gateway.config) == 1
    other = gateway.send()
    assert gateway.reply([0, 9])[8] == b"9"
    gateway.sim.advance(20_100)
    assert gateway.reply(0)[7] == lease
    gateway.respond(stream)
    assert gateway.release() == lease
    assert gateway.sim.observe(other).status == 429
