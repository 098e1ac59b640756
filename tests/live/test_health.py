"""Active health checks: an endpoint goes out and comes back, and its metrics are kept for the plugin."""

import json

import aiohttp

from host_sim.cluster import Cluster, Endpoint, endpoint_pair
from host_sim.live.config import HealthCheck
from host_sim.live.health import HealthChecks
from tests.live.bench import bench, run
from tests.live.upstream import Upstream


def checked(*endpoints, **settings):
    check = {"path": "/health", "interval_ms": 1, **settings}
    return {"llm": {"endpoints": list(endpoints), "health_check": check}}


def endpoint(gateway):
    return gateway.live.worker.clusters["llm"].endpoints[0]


def test_an_endpoint_goes_out_and_comes_back():
    async def scenario():
        async with Upstream() as upstream, bench(clusters=checked(upstream.address)) as gateway:
            assert (await gateway.text("/echo"))[0] == 201
            upstream.health = 500
            await gateway.until(lambda: endpoint(gateway).health == "Unhealthy")
            out = await gateway.text("/echo")
            [row] = (await gateway.state())["endpoints"]
            upstream.health = 200
            await gateway.until(lambda: endpoint(gateway).health == "Healthy")
            return out, row, await gateway.text("/echo")

    out, row, back = run(scenario())
    assert out == (503, "no healthy upstream")
    assert (row["health"], row["check"]) == ("Unhealthy", "status 500")
    assert back[0] == 201


def test_thresholds_count_results_in_a_row():
    """The check of an endpoint is driven by hand: which results in a row make which health."""

    async def scenario(statuses, **settings):
        async with Upstream() as upstream, aiohttp.ClientSession() as session:
            cluster = Cluster("llm", [Endpoint(upstream.address)])
            check = HealthCheck("/health", 1000, 1000, store_metrics=False, **settings)
            checks = HealthChecks(cluster, check, session, lambda address, problem: None)
            seen = []
            for number, status in enumerate(statuses):
                upstream.health = status
                await checks.check(upstream.address, is_first=number == 0)
                seen.append(cluster.endpoints[0].health == "Healthy")
            return seen

    def play(*statuses):
        return run(scenario(statuses, healthy_threshold=3, unhealthy_threshold=2))

    assert play(500, 200, 200, 500, 200, 200, 200) == [False] * 6 + [True]
    assert play(200, 500, 200, 500, 500) == [True, True, True, True, False]


def test_the_body_of_the_check_is_what_the_plugin_sees():
    async def scenario():
        async with Upstream() as upstream:
            async with bench(clusters=checked(upstream.address, store_metrics=True)) as gateway:
                first = endpoint(gateway)
                upstream.health_text = "up 2\n"
                await gateway.until(lambda: endpoint(gateway).metrics == "up 2\n")
                upstream.health = 500
                await gateway.until(lambda: endpoint(gateway).health == "Unhealthy")
                kept = endpoint(gateway).metrics
            async with bench(clusters=checked(upstream.address)) as gateway:
                return first, kept, endpoint(gateway).metrics

    first, kept, without = run(scenario())
    assert json.loads(endpoint_pair(first)[1]) == {"health_status": "Healthy", "metrics": "up 1\n"}
    assert (kept, without) == ("up 2\n", "")


def test_nobody_answers_the_check():
    async def scenario():
        async with bench(clusters=checked("127.0.0.1:1")) as gateway:
            [row] = (await gateway.state())["endpoints"]
            return row

    row = run(scenario())
    assert row["health"] == "Unhealthy"
    assert "127.0.0.1:1" in row["check"]
