"""endpoint_metrics in the real Envoy: two workers scrape real servers, and requests follow what these print.

And the endpoints of the admin interface, which Envoy reaches through a relay, because its port is not known before.
"""

import asyncio
from collections.abc import Iterator

import aiohttp
import pytest
from aiohttp import web

from bench.engine_texts import vllm
from host_sim.testing.envoy_config import DESTINATION_HEADER
from tests.envoy.gateway import Client, Gateway
from tests.envoy.listeners import eventually, run_gateways, served_by
from tests.envoy.upstreams import Fleet

INTERVAL_MS = 200
BUSY, IDLE = 40, 0


class AdminRelay:
    """A server that asks Envoy's admin interface, once it is known where that is; 503 before."""

    def __init__(self) -> None:
        self.admin_url = ""
        self.address = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        application = web.Application()
        application.router.add_get("/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.address = f"{host}:{port}"

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.Response:
        if not self.admin_url:
            return web.Response(status=503)
        async with aiohttp.ClientSession() as session, session.get(self.admin_url + request.path_qs) as response:
            return web.Response(body=await response.read(), content_type="application/json")


@pytest.fixture(scope="module")
def engines(runner: asyncio.Runner) -> Iterator[Fleet]:
    """Servers that print metrics; a test may stop one, so it comes last."""
    fleet = Fleet(["a", "b", "c"])
    print_metrics(fleet, a=BUSY, b=BUSY, c=BUSY)
    runner.run(fleet.start())
    yield fleet
    runner.run(fleet.stop())


@pytest.fixture(scope="module")
def gateways(
    runner: asyncio.Runner, engines: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Gateway]]:
    relay = AdminRelay()
    runner.run(relay.start())
    lb_config = {"upstream_cluster": "llm", "scrape_interval_ms": INTERVAL_MS}
    admin = {"upstream_cluster": "llm", "admin_cluster": "admin"}
    configurations = {
        "metrics": {"lb_policy": "endpoint_metrics", "endpoints": engines.addresses, "lb_config": lb_config},
        "listed": {"lb_policy": "global_least_request", "lb_config": admin},
        "both": {"lb_policy": "endpoint_metrics", "lb_config": {**lb_config, **admin}},
    }
    directory = tmp_path_factory.mktemp("metrics")
    with run_gateways(runner, engines, directory, configurations, {"admin": [relay.address]}) as gateways:
        relay.admin_url = gateways["listed"].envoy.admin_url
        yield gateways
    runner.run(relay.stop())


def print_metrics(fleet: Fleet, **waiting: float) -> None:
    """The servers have queues of these lengths; the other numbers change with every scrape."""
    for name, depth in waiting.items():
        fleet.by_name(name).metrics = lambda scrape, depth=depth: vllm(waiting=depth, scrape=scrape)


@pytest.mark.shows("policy endpoint_metrics")
@pytest.mark.parametrize("name", ["metrics", "both"])
def test_requests_go_to_the_idle_engine_and_follow_the_metrics(gateways: dict[str, Gateway], name: str) -> None:
    gateway = gateways[name]

    async def scenario(client: Client) -> None:
        for idle in ("b", "a", "c"):
            print_metrics(gateway.fleet, **{**dict.fromkeys("abc", BUSY), idle: IDLE})

            async def all_go_there(idle: str = idle) -> bool:
                return await served_by(client) == {idle}

            await eventually(all_go_there)

    gateway.run(scenario)


def test_the_client_cannot_choose(gateways: dict[str, Gateway]) -> None:
    gateway = gateways["metrics"]
    fleet = gateway.fleet
    print_metrics(fleet, a=IDLE, b=BUSY, c=BUSY)

    async def scenario(client: Client) -> None:
        async def goes_to_a() -> bool:
            wish = {DESTINATION_HEADER: fleet.by_name("b").address, "connection": "close"}
            return [(await client.request(headers=wish)).upstream for _ in range(8)] == ["a"] * 8

        await eventually(goes_to_a)

    gateway.run(scenario)
    for received in fleet.by_name("a").received:
        assert received.values(DESTINATION_HEADER) == [fleet.by_name("a").address]


@pytest.mark.shows("key lb_config.admin_cluster")
def test_the_endpoints_of_the_admin_interface_are_used(gateways: dict[str, Gateway]) -> None:
    gateway = gateways["listed"]
    fleet = gateway.fleet

    async def scenario(client: Client) -> None:
        async def all_are_used() -> bool:
            fleet.forget()
            everybody = await served_by(client, 9) == {"a", "b", "c"}
            headers = [r.values(DESTINATION_HEADER) == [u.address] for u in fleet.upstreams for r in u.received]
            return everybody and all(headers)

        await eventually(all_are_used)

    gateway.run(scenario)


def test_an_engine_that_goes_down_gets_no_requests_and_the_others_are_scraped_on(gateways: dict[str, Gateway]) -> None:
    gateway = gateways["metrics"]
    fleet = gateway.fleet
    print_metrics(fleet, a=IDLE, b=BUSY, c=BUSY)

    async def scenario(client: Client) -> None:
        async def a_serves() -> bool:
            return await served_by(client) == {"a"}

        async def others_serve() -> bool:
            return await served_by(client) <= {"b", "c"}

        async def b_serves() -> bool:
            return await served_by(client) == {"b"}

        await eventually(a_serves)
        await fleet.by_name("a").stop()
        await eventually(others_serve)
        print_metrics(fleet, b=IDLE)
        await eventually(b_serves)

    gateway.run(scenario)
    gateway.envoy.wait_for_log(f"{fleet.by_name('a').address} does not answer GET /metrics")
    assert "Traceback" not in gateway.envoy.log()
