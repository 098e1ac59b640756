"""The cluster policies in the real Envoy: requests reach the cluster that the filter chose, and no other.

Each upstream is a cluster of its own. The route of every listener takes its cluster from a request header, as the
filter's configuration says; one Envoy serves all listeners, so that V8 compiles the artifact once.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from ai_load_balancer.policies.cluster_hash import ClusterHash

from host_sim.testing.envoy_config import ROUTE_NAME, Cluster, Listener, Plugin, bootstrap
from host_sim.testing.envoy_process import Envoy, run_envoy
from tests.artifacts import require_artifact
from tests.envoy.binaries import NEWEST, require_envoy
from tests.envoy.conftest import WORKERS
from tests.envoy.gateway import Answer, Client, Gateway
from tests.envoy.upstreams import Fleet

CLUSTER_HEADER = "x-higress-target-cluster"
HASH_HEADER = "x-mse-consumer"
NAMES = ["a", "b", "c"]  # of the clusters and of their only endpoints
WEIGHTS = {"a": 50, "b": 30, "c": 20}
HASH: dict[str, object] = {
    "lb_type": "cluster",
    "lb_policy": "cluster_hash",
    "lb_config": {"clusters": [{"cluster": name, "weight": weight} for name, weight in WEIGHTS.items()]},
}
METRICS: dict[str, object] = {
    "lb_type": "cluster",
    "lb_policy": "cluster_metrics",
    "lb_config": {"mode": "LeastBusy", "service_list": NAMES},
}
CONFIGURATIONS: dict[str, dict[str, object]] = {
    "hash": HASH,
    "metrics": METRICS,
    # A rule by the route's name: the filter asks Envoy for the route before it sets the header.
    "hash_by_rule": {"_rules_": [{"_match_route_": [ROUTE_NAME], **HASH}]},
    "metrics_by_rule": {"_rules_": [{"_match_route_": [ROUTE_NAME], **METRICS}]},
}


@pytest.fixture(scope="module")
def envoy(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoy]:
    module = require_artifact("envoy")
    clusters = [Cluster(name, [fleet.by_name(name).address]) for name in NAMES]
    listeners = [
        Listener(name, [Plugin(module, configuration)], cluster_header=CLUSTER_HEADER)
        for name, configuration in CONFIGURATIONS.items()
    ]
    config = bootstrap(clusters, listeners=listeners)
    with run_envoy(require_envoy(NEWEST), config, tmp_path_factory.mktemp("clusters"), WORKERS) as envoy:
        yield envoy


def gateway_of(envoy: Envoy, fleet: Fleet, runner: asyncio.Runner, listener: str) -> Gateway:
    return Gateway(replace(envoy, listener=listener), fleet, runner)


@pytest.fixture(params=["hash", "hash_by_rule"])
def hashing(envoy: Envoy, fleet: Fleet, runner: asyncio.Runner, request: pytest.FixtureRequest) -> Gateway:
    return gateway_of(envoy, fleet, runner, request.param)


@pytest.fixture(params=["metrics", "metrics_by_rule"])
def measuring(envoy: Envoy, fleet: Fleet, runner: asyncio.Runner, request: pytest.FixtureRequest) -> Gateway:
    return gateway_of(envoy, fleet, runner, request.param)


def assert_named_once(fleet: Fleet) -> None:
    """Each request came with the header of the cluster that it reached, and with no other value of it."""
    for upstream in fleet.upstreams:
        assert all(received.values(CLUSTER_HEADER) == [upstream.name] for received in upstream.received)


@pytest.mark.shows("policy cluster_hash")
def test_sessions_reach_the_clusters_that_the_policy_says(hashing: Gateway) -> None:
    policy = ClusterHash(WEIGHTS.items())
    sessions = [f"consumer-{i}" for i in range(60)]

    async def scenario(client: Client) -> list[Answer]:
        return [await client.request(headers={HASH_HEADER: session}) for session in sessions]

    answers = hashing.run(scenario)
    assert [answer.upstream for answer in answers] == [policy.choose(session) for session in sessions]
    assert {answer.upstream for answer in answers} == set(NAMES)
    assert_named_once(hashing.fleet)


@pytest.mark.parametrize("wish", [*NAMES, "nowhere"])
def test_a_session_cannot_choose_its_cluster(hashing: Gateway, wish: str) -> None:
    session = "consumer-0"

    async def scenario(client: Client) -> Answer:
        return await client.request(headers={HASH_HEADER: session, CLUSTER_HEADER: wish})

    assert hashing.run(scenario).upstream == ClusterHash(WEIGHTS.items()).choose(session)
    assert_named_once(hashing.fleet)


def test_a_request_without_a_session_is_refused(hashing: Gateway) -> None:
    async def scenario(client: Client) -> Answer:
        return await client.request(headers={CLUSTER_HEADER: "a"})

    assert hashing.run(scenario) == Answer(403, None, b"hash header required")


@pytest.mark.shows("policy cluster_metrics", "key lb_config.service_list")
def test_concurrent_requests_spread_over_the_clusters(measuring: Gateway) -> None:
    async def scenario(client: Client) -> list[list[int]]:
        fleet = measuring.fleet
        fleet.hold()
        for _ in range(30):
            client.start()
        await fleet.wait_for(lambda: sum(fleet.in_flight) == 30)
        evenly = fleet.in_flight
        for upstream in fleet.upstreams[1:]:
            upstream.release()
        await fleet.wait_for(lambda: sum(fleet.in_flight) == 10)
        await measuring.wait_for_active_requests(10)
        fleet.hold()
        for _ in range(20):
            client.start()
        await fleet.wait_for(lambda: sum(fleet.in_flight) == 30)
        return [evenly, fleet.in_flight]

    assert measuring.run(scenario) == [[10, 10, 10], [10, 10, 10]]
    assert_named_once(measuring.fleet)


@pytest.mark.parametrize("wish", ["the busy one", "nowhere"])
def test_a_client_cannot_choose_the_cluster(measuring: Gateway, wish: str) -> None:
    async def scenario(client: Client) -> Counter[str | None]:
        fleet = measuring.fleet
        fleet.hold()
        client.start()
        await fleet.wait_for(lambda: sum(fleet.in_flight) == 1)
        busy = next(upstream for upstream in fleet.upstreams if upstream.in_flight)
        for upstream in fleet.upstreams:
            if upstream is not busy:
                upstream.release()
        wished = wish if wish == "nowhere" else busy.name
        answers = [await client.request(headers={CLUSTER_HEADER: wished}) for _ in range(20)]
        return Counter(answer.upstream for answer in answers if answer.upstream != busy.name)

    assert measuring.run(scenario).total() == 20
    assert_named_once(measuring.fleet)


def test_the_filter_raises_nothing(envoy: Envoy) -> None:
    assert "Traceback" not in envoy.log()
