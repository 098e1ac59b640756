"""When Redis fails, is slow or is left alone: the gateway decides, nothing is left behind, and Redis is tried again."""

import pytest

from host_sim import Fault, Raw, RespError, SteppedRedis

from .stepped_gateway import ENDPOINTS, REDIS, Gateway, lease_of


@pytest.fixture
def gateway(higress_guest):
    gateway = Gateway(higress_guest)
    yield gateway
    gateway.finish()


@pytest.mark.parametrize(
    "reply",
    [
        RespError("ERR something is wrong"),
        RespError("WRONGTYPE Operation against a key"),
        [4, 1],
        [1],
        None,
        b"10.0.0.1:80",
    ],
)
def test_after_a_reply_that_is_no_decision_the_gateway_decides(gateway, reply):
    stream = gateway.send()
    acquire = gateway.reply(reply)
    assert not stream.paused
    assert stream.overridden
    assert gateway.release() == lease_of(acquire)  # perhaps it was taken
    gateway.respond(stream)
    assert gateway.counter("local", "routed") == 1
    assert gateway.fallbacks("error") == 1
    (warning,) = gateway.warnings()
    assert warning.startswith("[ai-load-balancer] [lb-1] [id-7] ")


@pytest.mark.parametrize("fault", [Fault.DISCONNECT, Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")])
def test_after_a_broken_connection_the_gateway_decides(gateway, fault):
    stream = gateway.send()
    acquire = gateway.reply(fault)
    assert not stream.paused
    assert stream.overridden
    assert gateway.release() == lease_of(acquire)
    gateway.respond(stream)
    assert gateway.counter("local", "routed") == 1
    assert gateway.fallbacks("unreachable") == 1


def test_a_request_waits_for_its_budget_and_no_longer(gateway):
    stream = gateway.send()
    gateway.sim.advance(199)
    assert stream.paused
    gateway.sim.advance(51)  # a tick is at most a quarter of the budget away
    assert not stream.paused
    assert stream.overridden
    assert gateway.counter("local", "routed") == 1
    assert gateway.fallbacks("slow") == 1
    late = gateway.reply([2, 1])
    assert gateway.release() == lease_of(late)
    assert stream.endpoint.address in ENDPOINTS
    gateway.respond(stream)
    assert gateway.commands() == []  # Redis has not heard of this request


@pytest.mark.shows("key lb_config.redis_budget_ms")
def test_the_budget_is_that_of_the_configuration(higress_guest):
    gateway = Gateway(higress_guest, redis_budget_ms=40)
    stream = gateway.send()
    gateway.sim.advance(39)
    assert stream.paused
    gateway.sim.advance(11)
    assert not stream.paused
    gateway.reply([1, 1])
    gateway.release()
    gateway.respond(stream)
    gateway.finish()


def test_each_waiting_request_has_a_budget_of_its_own(gateway):
    first = gateway.send()
    gateway.sim.advance(150)
    second = gateway.send()
    gateway.sim.advance(100)
    assert not first.paused
    assert second.paused
    gateway.reply([1, 1])
    gateway.reply([2, 2])
    assert second.endpoint.address == ENDPOINTS[1]
    for stream in (first, second):
        gateway.respond(stream)
    gateway.release()
    gateway.release()


def test_a_client_that_goes_away_after_its_budget(gateway):
    stream = gateway.send()
    gateway.sim.advance(250)
    stream.abort()
    late = gateway.reply([1, 1])
    assert gateway.release() == lease_of(late)
    assert gateway.counter("redis", "client_gone") == 0


def test_the_gateways_own_choices_are_spread_and_given_back(gateway):
    streams = [gateway.send() for _ in range(6)]
    gateway.sim.advance(250)
    assert sorted(stream.endpoint.address for stream in streams) == sorted(ENDPOINTS * 2)
    for _ in streams:
        gateway.reply([1, 1])
    for _ in streams:
        gateway.release()
    for stream in streams:
        gateway.respond(stream)
    assert gateway.commands() == []


def test_the_gateways_own_choices_know_what_redis_chose(gateway):
    """Two requests went to the first endpoint through Redis; when it fails, the next two go to the others."""
    early = [gateway.send() for _ in range(2)]
    for count in (1, 2):
        gateway.reply([1, count])
    late = [gateway.send() for _ in range(2)]
    for _ in late:
        gateway.reply(RespError("LOADING Redis is loading the dataset in memory"))
    assert sorted(stream.endpoint.address for stream in late) == ENDPOINTS[1:]
    for _ in late:
        gateway.release()
    for stream in (*early, *late):
        gateway.respond(stream)
    for _ in early:
        gateway.release()


def test_the_breaker_opens_and_a_probe_closes_it(gateway):
    streams = []
    for _ in range(5):
        streams.append(gateway.send())
        gateway.reply(RespError("ERR"))
        gateway.release()
    streams.append(gateway.send())
    assert gateway.commands() == []
    assert not streams[-1].paused
    assert streams[-1].overridden
    assert gateway.fallbacks("breaker_open") == 1
    gateway.sim.advance(1001)
    probe, other = gateway.send(), gateway.send()
    assert probe.paused
    assert not other.paused
    gateway.reply([1, 1])
    streams += [probe, other, gateway.send()]
    assert streams[-1].paused
    gateway.reply([2, 1])
    for stream in streams:
        gateway.respond(stream)
    while gateway.commands():
        gateway.release()


def test_what_was_routed_without_redis_is_told_to_it_by_the_next_renewal(gateway):
    stream = gateway.send()
    gateway.reply(RespError("ERR"))
    gateway.release()
    gateway.sim.advance(20_100)
    renew = gateway.reply(1)
    assert renew[8:] == [b"1", stream.endpoint.address.encode()]
    gateway.respond(stream)
    assert gateway.release() == renew[7]


@pytest.mark.parametrize("redis", [{}, {REDIS: None}])  # the gateway does not know the Redis cluster; it has no host
def test_without_redis_the_gateway_decides_at_once(higress_guest, redis):
    gateway = Gateway(higress_guest, redis=redis)
    stream = gateway.send()
    assert gateway.sim.observe(stream).actions[0] == ("proxy_on_request_headers", 0)
    assert stream.overridden
    assert gateway.fallbacks("unreachable") == 1
    gateway.respond(stream)
    gateway.finish()


def test_redis_that_appears_later_is_used(higress_guest):
    redis: dict[str, SteppedRedis] = {}
    gateway = Gateway(higress_guest, redis=redis)
    gateway.send().abort()
    assert gateway.counter("local", "routed") == 1
    gateway.sim.redis[REDIS] = gateway.redis
    gateway.sim.gateway.redis = gateway.sim.redis
    gateway.sim.advance(1001)
    stream = gateway.send()
    assert stream.paused
    gateway.reply([1, 1])
    gateway.respond(stream)
    gateway.release()
    gateway.finish()
