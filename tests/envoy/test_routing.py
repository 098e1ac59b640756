"""global_least_request in the real Envoy: requests reach the endpoint that the filter chose, and the choice is right.

Replies are held open, so that the counts of requests in flight are known exactly when the next choice is made.
"""

import pytest

from host_sim.testing.envoy_config import DESTINATION_HEADER
from tests.envoy.gateway import Answer, Client, Gateway
from tests.envoy.upstreams import Fleet

REQUESTS = 100


async def load_one_endpoint(client: Client, fleet: Fleet) -> str:
    """Holds one reply open; the name of the endpoint that serves it."""
    fleet.hold()
    client.start()
    await fleet.wait_for(lambda: sum(fleet.in_flight) == 1)
    loaded = next(upstream for upstream in fleet.upstreams if upstream.in_flight)
    for upstream in fleet.upstreams:
        if upstream is not loaded:
            upstream.release()
    return loaded.name


@pytest.mark.shows("policy global_least_request")
def test_concurrent_requests_even_out_an_uneven_load(gateway: Gateway) -> None:
    async def scenario(client: Client) -> list[list[int]]:
        fleet = gateway.fleet
        fleet.hold()
        for _ in range(60):
            client.start()
        await fleet.wait_for(lambda: sum(fleet.in_flight) == 60)
        evenly = fleet.in_flight
        for upstream in fleet.upstreams[1:]:
            upstream.release()
        await fleet.wait_for(lambda: sum(fleet.in_flight) == 20)
        await gateway.wait_for_active_requests(20)
        fleet.hold()
        for _ in range(REQUESTS):
            client.start()
        await fleet.wait_for(lambda: sum(fleet.in_flight) == 20 + REQUESTS)
        return [evenly, fleet.in_flight]

    assert gateway.run(scenario) == [[20, 20, 20], [40, 40, 40]]


def test_each_request_reaches_the_endpoint_that_the_filter_chose(gateway: Gateway) -> None:
    async def scenario(client: Client) -> None:
        for request in [client.start() for _ in range(REQUESTS)]:
            assert (await request).status == 200

    gateway.run(scenario)
    for upstream in gateway.fleet.upstreams:
        assert upstream.received
        for received in upstream.received:
            assert received.values(DESTINATION_HEADER) == [upstream.address]


def test_requests_avoid_a_loaded_endpoint(gateway: Gateway) -> None:
    async def scenario(client: Client) -> tuple[str, set[str | None]]:
        loaded = await load_one_endpoint(client, gateway.fleet)
        return loaded, {(await client.request()).upstream for _ in range(30)}

    loaded, served_by = gateway.run(scenario)
    assert served_by == {"a", "b", "c"} - {loaded}


def test_the_client_cannot_choose_the_endpoint(gateway: Gateway) -> None:
    async def scenario(client: Client) -> str:
        fleet = gateway.fleet
        loaded = await load_one_endpoint(client, fleet)
        wish = {DESTINATION_HEADER: fleet.by_name(loaded).address}
        for _ in range(10):
            assert (await client.request(headers=wish)).upstream != loaded
        return loaded

    loaded = gateway.run(scenario)
    for upstream in gateway.fleet.upstreams:
        if upstream.name != loaded:
            assert all(received.values(DESTINATION_HEADER) == [upstream.address] for received in upstream.received)


def test_a_client_that_goes_away_gives_its_count_back(gateway: Gateway) -> None:
    async def scenario(client: Client) -> None:
        fleet = gateway.fleet
        fleet.hold()
        at_a = None
        for _ in fleet.upstreams:
            before = fleet.by_name("a").in_flight
            request = client.start()
            await fleet.wait_for(lambda: sum(fleet.in_flight) == len(client.started))
            if fleet.by_name("a").in_flight > before:
                at_a = request
        assert fleet.in_flight == [1, 1, 1]
        # Time and again the endpoint that lost its client is the only idle one.
        for _ in range(5):
            assert at_a is not None
            at_a.cancel()
            await fleet.wait_for(lambda: fleet.in_flight == [0, 1, 1])
            await gateway.wait_for_active_requests(2)
            at_a = client.start()
            await fleet.wait_for(lambda: sum(fleet.in_flight) == 3)
            assert fleet.in_flight == [1, 1, 1]

    gateway.run(scenario)


@pytest.mark.shows("defect 1")
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_a_request_without_a_body_is_served(gateway: Gateway, method: str) -> None:
    async def scenario(client: Client) -> Answer:
        return await client.request(method, "/v1/models", body=None)

    assert gateway.run(scenario).status == 200


def test_a_large_body_arrives_whole(gateway: Gateway) -> None:
    body = b"x" * 4_000_000

    async def scenario(client: Client) -> Answer:
        return await client.request(body=body)

    assert gateway.run(scenario).status == 200
    assert [received.body_size for upstream in gateway.fleet.upstreams for received in upstream.received] == [len(body)]


def test_the_filter_raises_nothing(gateway: Gateway) -> None:
    async def scenario(client: Client) -> Answer:
        return await client.request()

    assert gateway.run(scenario).status == 200
    assert "Traceback" not in gateway.envoy.log()
