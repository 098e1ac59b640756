"""prefix_cache in the real Envoy: a conversation returns to the endpoint that knows it, across two workers."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from host_sim.testing.envoy_config import DESTINATION_HEADER
from tests.envoy.gateway import Answer, Client, Gateway
from tests.envoy.listeners import run_gateways
from tests.envoy.upstreams import Fleet

TURNS = 6
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def gateway(runner: asyncio.Runner, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    configuration = {"lb_policy": "prefix_cache", "endpoints": fleet.addresses}
    with run_gateways(runner, fleet, tmp_path_factory.mktemp("prefix"), {"prefix": configuration}, {}) as gateways:
        yield gateways["prefix"]


@pytest.fixture(scope="module")
def bodiless_gateway(
    runner: asyncio.Runner, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """Envoy gives the filter no body of a request whose headers it holds."""
    configuration = {"lb_policy": "prefix_cache", "endpoints": fleet.addresses}
    directory = tmp_path_factory.mktemp("bodiless")
    options = {"allow_on_headers_stop_iteration": False}
    with run_gateways(runner, fleet, directory, {"prefix": configuration}, {}, **options) as gateways:
        yield gateways["prefix"]


def conversation(topic: str, turns: int) -> bytes:
    messages = [{"role": "user", "content": f"{topic}, question {turn}: " + "why? " * 200} for turn in range(turns)]
    return json.dumps({"model": "m", "messages": messages}).encode()


@pytest.mark.shows("policy prefix_cache")
def test_a_conversation_returns_to_its_endpoint_although_others_are_idle(gateway: Gateway) -> None:
    fleet = gateway.fleet

    async def scenario(client: Client) -> list[int]:
        first = await client.request(headers=JSON, body=conversation("rivers", 1))
        assert first.status == 200
        home = fleet.by_name(str(first.upstream))
        fleet.hold()
        requests = []
        for turn in range(2, 2 + TURNS):
            request = client.request(headers={**JSON, "connection": "close"}, body=conversation("rivers", turn))
            requests.append(asyncio.create_task(request))
            client.started.append(requests[-1])
            await fleet.wait_for(lambda turn=turn: home.in_flight == turn - 1)  # type: ignore[misc]
        counts = fleet.in_flight
        fleet.release()
        assert {(await request).upstream for request in requests} == {home.name}
        return sorted(counts)

    assert gateway.run(scenario) == [0, 0, TURNS]


def test_other_conversations_go_where_it_is_idle(gateway: Gateway) -> None:
    fleet = gateway.fleet

    async def scenario(client: Client) -> list[int]:
        fleet.hold()
        for number in range(6):
            request = client.request(headers=JSON, body=conversation(f"topic {number}", 1))
            client.started.append(asyncio.create_task(request))
            await fleet.wait_for(lambda number=number: sum(fleet.in_flight) == number + 1)  # type: ignore[misc]
        return fleet.in_flight

    assert gateway.run(scenario) == [2, 2, 2]


@pytest.mark.parametrize(
    ("method", "body"), [("GET", None), ("DELETE", None), ("POST", b""), ("POST", b"no JSON"), ("POST", b"{}")]
)
def test_a_request_without_a_prompt_passes(gateway: Gateway, method: str, body: bytes | None) -> None:
    async def scenario(client: Client) -> Answer:
        return await client.request(method, "/v1/models", {**JSON, DESTINATION_HEADER: "10.9.9.9:80"}, body)

    assert gateway.run(scenario).status == 200
    [received] = [received for upstream in gateway.fleet.upstreams for received in upstream.received]
    assert received.values(DESTINATION_HEADER)[0] in gateway.fleet.addresses
    assert received.body_size == len(body or b"")


def test_a_large_conversation_arrives_whole(gateway: Gateway) -> None:
    body = conversation("lakes", 400)

    async def scenario(client: Client) -> Answer:
        return await client.request(headers=JSON, body=body)

    assert gateway.run(scenario).status == 200
    assert [r.body_size for upstream in gateway.fleet.upstreams for r in upstream.received] == [len(body)]
    assert "Traceback" not in gateway.envoy.log()


def test_a_request_is_not_held_for_ever_where_no_body_is_given(bodiless_gateway: Gateway) -> None:
    body = conversation("seas", 3)

    async def scenario(client: Client) -> Answer:
        return await client.request(headers={**JSON, DESTINATION_HEADER: "10.9.9.9:80"}, body=body)

    assert bodiless_gateway.run(scenario).status == 200
    received = [(u.address, r) for u in bodiless_gateway.fleet.upstreams for r in u.received]
    assert [(r.values(DESTINATION_HEADER), r.body_size) for _, r in received] == [([received[0][0]], len(body))]
    assert "Traceback" not in bodiless_gateway.envoy.log()
