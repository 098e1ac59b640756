"""global_least_request with a real Redis over TCP: what is in flight there is right, whatever happens."""

import asyncio
from collections import Counter

import pytest
from ai_load_balancer.scripts import LIVE_COUNTS, in_flight_keys

from host_sim import EmbeddedRedis, Raw, ScriptedRedis, Simulator
from host_sim.codec import RespError

REDIS = "outbound|6379||redis.static"
CLUSTER = "outbound|80||llm.dns"
ENDPOINTS = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]
CONFIG = {
    "lb_policy": "global_least_request",
    "lb_config": {"serviceFQDN": "redis.static", "servicePort": 6379, "timeout": 2000},
}
KEYS = in_flight_keys(b"route", CLUSTER.encode())


def simulator(guest, backend, **options):
    return Simulator(guest, "higress", CONFIG, clusters={CLUSTER: ENDPOINTS}, redis={REDIS: backend}, **options)


def in_flight(database):
    """Live counts, and that the stored ones say the same."""
    reply = database.execute_command(*LIVE_COUNTS.by_source, *KEYS)
    live = {reply[i]: reply[i + 1] for i in range(0, len(reply), 2)}
    assert {endpoint: int(count) for endpoint, count in database.hgetall(KEYS[0]).items()} == live
    return live


def play(scenario):
    asyncio.run(scenario())


def test_sixty_at_once_are_spread_evenly_and_nothing_is_left(higress_guest, redis_server, database):
    async def scenario():
        async with simulator(higress_guest, redis_server.url) as sim:
            exchanges = await asyncio.gather(*(sim.request("POST", "/v1/chat/completions") for _ in range(60)))
            await sim.settle()
            assert all(exchange.status == 200 and exchange.overridden for exchange in exchanges)
            assert set(Counter(exchange.endpoint for exchange in exchanges)) == set(ENDPOINTS)
            assert in_flight(database) == {}
            await sim.finish()

    play(scenario)


@pytest.mark.shows("defect 2")
def test_clients_that_go_away_leave_nothing(higress_guest, redis_server, database):
    async def scenario():
        async with simulator(higress_guest, redis_server.url) as sim:
            aborts = ["paused", "response", None] * 10
            await asyncio.gather(*(sim.request("POST", "/", abort=abort) for abort in aborts))
            await sim.settle()
            assert in_flight(database) == {}
            await sim.finish()

    play(scenario)


@pytest.mark.shows("defect 1")
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_request_without_a_body_is_served(higress_guest, redis_server, database, method):
    async def scenario():
        async with simulator(higress_guest, redis_server.url) as sim:
            exchange = await sim.request(method, "/v1/models")
            assert (exchange.status, exchange.overridden) == (200, True)
            await sim.finish()
        assert in_flight(database) == {}

    play(scenario)


def test_redis_goes_down_and_comes_back(higress_guest):
    async def scenario():
        with EmbeddedRedis() as server:
            async with simulator(higress_guest, server.url) as sim:
                assert (await sim.request()).overridden
                await sim.settle()
                server.stop()
                exchange = await sim.request()
                assert (exchange.status, exchange.overridden) == (200, True)
                assert "this gateway's counts decide" in " ".join(record.message for record in exchange.logs)
                await sim.settle()
                restarted = EmbeddedRedis()
                restarted.start()
                try:
                    sim.gateway.redis[REDIS].port = restarted.port
                    exchange = await sim.request()
                    assert (exchange.status, exchange.overridden) == (200, True)
                    await sim.settle()
                    with restarted.client() as database:
                        assert in_flight(database) == {}
                finally:
                    restarted.stop()
                await sim.finish()

    play(scenario)


def test_redis_answers_an_error(higress_guest, redis_server, database):
    async def scenario():
        database.set(KEYS[0], "not a hash")
        async with simulator(higress_guest, redis_server.url) as sim:
            exchange = await sim.request()
            assert (exchange.status, exchange.overridden) == (200, True)
            assert "WRONGTYPE" in " ".join(record.message for record in exchange.logs)
            await sim.settle()
            database.delete(KEYS[0])
            assert (await sim.request()).overridden
            await sim.settle()
            assert in_flight(database) == {}
            await sim.finish()

    play(scenario)


@pytest.mark.parametrize("garbage", [[b"10.0.0.1:80", 1], b"", [99, 1], Raw(b"+not an array\r\n")])
def test_redis_takes_the_lease_and_answers_garbage(higress_guest, database, garbage):
    """The acquire is done by a real server; only the answer is lost. The release must find the lease."""
    acquired = []

    def answer(command):
        try:
            reply = database.execute_command(*command)
        except Exception as error:
            return RespError(str(error) if str(error).startswith("NOSCRIPT") else f"NOSCRIPT {error}")
        if len(command) > 12:
            acquired.append(in_flight(database))
            return garbage
        return reply

    async def scenario():
        async with simulator(higress_guest, ScriptedRedis(answer)) as sim:
            exchange = await sim.request()
            assert (exchange.status, exchange.overridden) == (200, True)
            await sim.settle()
            assert sum(acquired[0].values()) == 1
            assert in_flight(database) == {}
            await sim.finish()

    play(scenario)
