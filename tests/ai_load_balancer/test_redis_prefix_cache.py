"""prefix_cache on a gateway with a real Redis: conversations return, nothing is left over, no request hangs."""

import asyncio
import json
from collections import Counter

import pytest
from ai_load_balancer.scripts import LIVE_COUNTS, in_flight_keys
from proxywasm.enums import LogLevel

from host_sim import Fault, Raw, ScriptedRedis, Simulator
from host_sim.codec import RespError

REDIS = "outbound|6379||redis.static"
CLUSTER = "outbound|80||llm.dns"
ENDPOINTS = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]
KEYS = in_flight_keys(b"route", CLUSTER.encode())
CONFIG = {
    "lb_policy": "prefix_cache",
    "lb_config": {"serviceFQDN": "redis.static", "servicePort": 6379, "tenant_header": "x-tenant"},
}
PATH = "/v1/chat/completions"
JSON_BODY = {"content-type": "application/json"}


def simulator(guest, backend, **options):
    return Simulator(guest, "higress", CONFIG, clusters={CLUSTER: ENDPOINTS}, redis={REDIS: backend}, **options)


def conversation(*turns, model="m") -> bytes:
    messages = [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]
    return json.dumps({"model": model, "messages": messages, "stream": True}).encode()


def in_flight(database):
    reply = database.execute_command(*LIVE_COUNTS.by_source, *KEYS)
    return {reply[i]: reply[i + 1] for i in range(0, len(reply), 2)}


def blocks(database):
    return database.keys("ailb:{route|*}:prefix:*")


def play(guest, backend, scenario, **options):
    async def run():
        async with simulator(guest, backend, **options) as sim:
            await scenario(sim)
            await sim.settle()
            await sim.finish()

    asyncio.run(run())


async def ask(sim, body, headers=JSON_BODY, **options):
    exchange = await sim.request("POST", PATH, headers, body, **options)
    assert exchange.status == 200
    return exchange


@pytest.mark.shows("policy prefix_cache")
def test_conversations_return_to_the_endpoint_that_knows_them(higress_guest, redis_server, database):
    async def scenario(sim):
        firsts = [await ask(sim, conversation(f"question {i}")) for i in range(12)]
        assert len({first.endpoint for first in firsts}) > 1
        for i, first in enumerate(firsts):
            body = conversation(f"question {i}", "answer", "and then?")
            again = await ask(sim, [body[:20], body[20:]])
            assert again.overridden
            assert again.endpoint == first.endpoint
            assert again.upstream_body == body
        assert len(blocks(database)) == 24

    play(higress_guest, redis_server.url, scenario)
    assert in_flight(database) == {}


@pytest.mark.shows("key lb_config.tenant_header", "defect 6")
def test_tenants_and_models_share_nothing(higress_guest, redis_server, database):
    async def scenario(sim):
        await ask(sim, conversation("hi"))
        await ask(sim, conversation("hi"), {**JSON_BODY, "x-tenant": "one"})
        await ask(sim, conversation("hi"), {**JSON_BODY, "x-tenant": "two"})
        await ask(sim, conversation("hi", model="n"))
        assert len(blocks(database)) == 4
        await ask(sim, conversation("hi"), {**JSON_BODY, "x-tenant": "two"})
        assert len(blocks(database)) == 4

    play(higress_guest, redis_server.url, scenario)


@pytest.mark.shows("defect 13")
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (JSON_BODY, b""),
        (JSON_BODY, b"no JSON"),
        (JSON_BODY, b'{"messages": []}'),
        ({"content-type": "application/octet-stream"}, conversation("hi")),
        ({**JSON_BODY, "content-encoding": "gzip"}, conversation("hi")),
        ({"connection": "upgrade", "upgrade": "WebSocket"}, conversation("hi")),
    ],
)
def test_without_a_prompt_the_counts_decide(higress_guest, redis_server, database, headers, body):
    async def scenario(sim):
        exchanges = await asyncio.gather(*(ask(sim, body, headers) for _ in range(6)))
        assert all(exchange.overridden and exchange.upstream_body == body for exchange in exchanges)
        assert set(Counter(exchange.endpoint for exchange in exchanges)) == set(ENDPOINTS)
        assert not [record for record in sim.gateway.logs if record.level >= LogLevel.ERROR]

    play(higress_guest, redis_server.url, scenario)
    assert blocks(database) == []
    assert in_flight(database) == {}


def test_a_body_that_ends_with_trailers_is_read(higress_guest, redis_server, database):
    async def scenario(sim):
        exchange = await ask(sim, conversation("hi"), trailers={"x-checksum": "7"})
        assert exchange.overridden

    play(higress_guest, redis_server.url, scenario)
    assert len(blocks(database)) == 1


def test_clients_that_go_away_leave_nothing(higress_guest, redis_server, database):
    async def scenario(sim):
        aborts = ["paused", "response", None] * 10
        await asyncio.gather(
            *(sim.request("POST", PATH, JSON_BODY, conversation("hi"), abort=abort) for abort in aborts)
        )

    play(higress_guest, redis_server.url, scenario)
    assert in_flight(database) == {}


@pytest.mark.parametrize(
    "answer", [Fault.DISCONNECT, RespError("ERR broken"), Raw(b"!\r\n"), [1, 1], [9, 1, 0], [1, 1, b"x"], "OK", None]
)
def test_whatever_redis_answers_the_gateway_decides(higress_guest, answer):
    def script(command):
        return 1 if len(command) == 7 else answer  # the release

    async def scenario(sim):
        first = await ask(sim, conversation("hi"))
        again = [await ask(sim, conversation("hi", "answer", f"and {i}?")) for i in range(5)]
        assert first.overridden
        assert {exchange.endpoint for exchange in again} == {first.endpoint}

    play(higress_guest, ScriptedRedis(script), scenario)
