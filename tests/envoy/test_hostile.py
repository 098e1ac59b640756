"""A request does its worst, in the real Envoy: whatever it is, the VM lives and the next request is served."""

import asyncio
import io
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from host_sim.testing.envoy_config import Cluster, Plugin, bootstrap
from host_sim.testing.envoy_process import run_envoy
from tests.envoy.binaries import NEWEST, require_envoy
from tests.envoy.gateway import Client, Gateway
from tests.envoy.upstreams import Fleet
from tests.hostile import BODIES, BUFFER_LIMIT_BYTES, UNCAUGHT
from tests.plugin_builds import built_plugin

CLIENT_TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def start_envoy(
    runner: asyncio.Runner, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Iterator[Gateway]]:
    def start(plugin: str) -> Iterator[Gateway]:
        config = bootstrap([Cluster("llm", fleet.addresses)], Plugin(built_plugin(plugin, "envoy")), BUFFER_LIMIT_BYTES)
        with run_envoy(require_envoy(NEWEST), config, tmp_path_factory.mktemp("hostile")) as envoy:
            yield Gateway(envoy, fleet, runner)

    return start


@pytest.fixture(scope="module")
def hostile(start_envoy: Callable[[str], Iterator[Gateway]]) -> Iterator[Gateway]:
    yield from start_envoy("hostile:Hostile")


@pytest.fixture(scope="module")
def raising(start_envoy: Callable[[str], Iterator[Gateway]]) -> Iterator[Gateway]:
    yield from start_envoy("hostile:Raising")


async def attack(client: Client, name: str, body: bytes = b"") -> tuple[int, str | None]:
    """(status, what the plugin says came of it)"""
    async with asyncio.timeout(CLIENT_TIMEOUT_S):
        async with client.session.post("/", headers={"x-attack": name}, data=io.BytesIO(body)) as response:
            await response.read()
            return response.status, response.headers.get("x-outcome")


def test_no_attack_kills_the_vm(hostile: Gateway) -> None:
    async def scenario(client: Client) -> dict[str, tuple[int, str | None]]:
        _, names = await attack(client, "names")
        assert names
        return {name: await attack(client, name) for name in names.split(",")}

    outcomes = hostile.run(scenario)
    assert len(outcomes) > 250
    assert {name: outcome for name, outcome in outcomes.items() if outcome[0] != 200 or not outcome[1]} == {}
    assert sum(outcome == "RecursionError" for _, outcome in outcomes.values()) > 50


@pytest.mark.parametrize("name", BODIES)
def test_bodies(hostile: Gateway, name: str) -> None:
    body, expected = BODIES[name]

    async def scenario(client: Client) -> None:
        assert await attack(client, "body", body) == (200, expected)
        assert await attack(client, "none") == (200, "none")

    hostile.run(scenario)


@pytest.mark.parametrize("name", UNCAUGHT)
def test_what_is_not_caught_lets_the_request_go_on(hostile: Gateway, name: str) -> None:
    async def scenario(client: Client) -> None:
        assert await attack(client, name) == (200, "none")

    hostile.run(scenario)


def test_a_negative_result_harms_only_its_request(hostile: Gateway) -> None:
    async def scenario(client: Client) -> None:
        held = asyncio.create_task(attack(client, "negative"))
        await hostile.wait_for_active_requests(1)  # Envoy takes an action that it does not know for a pause
        held.cancel()
        with suppress(asyncio.CancelledError):
            await held
        await hostile.wait_for_active_requests(0)
        assert await attack(client, "none") == (200, "none")

    hostile.run(scenario)


def test_an_exception_in_every_callback(raising: Gateway) -> None:
    async def scenario(client: Client) -> None:
        for _ in range(20):
            answer = await client.request()
            assert (answer.status, answer.upstream is not None) == (200, True)

    raising.run(scenario)
    for callback in ("on_request_headers", "on_request_body", "on_response_body", "on_log", "on_tick"):
        raising.envoy.wait_for_log(f"{callback} of context")
