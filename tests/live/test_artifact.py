"""The real artifact behind the live gateway: real Redis, real model servers, a hundred clients at once."""

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from host_sim import EmbeddedRedis, ModelServer
from tests.artifacts import require_artifact
from tests.live.bench import bench, run

REDIS = "outbound|6379||redis.static"
CLUSTER = "outbound|80||llm.static"
REQUESTS = 100
SERVERS = 3
CONFIG = {
    "lb_policy": "global_least_request",
    "lb_config": {"serviceFQDN": "redis.static", "servicePort": 6379, "timeout": 500},
}


@asynccontextmanager
async def artifact_bench(redis_url):
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(ModelServer(f"model-{n}", token_interval_s=0)) for n in range(SERVERS)
        ]
        check = {"path": "/metrics", "store_metrics": True}
        gateway = await stack.enter_async_context(
            bench(
                plugin={"wasm": str(require_artifact("higress")), "name": "ai-load-balancer", "config": CONFIG},
                routes=[{"name": "chat", "prefix": "/v1/", "cluster": CLUSTER}],
                clusters={CLUSTER: {"endpoints": [server.address for server in servers], "health_check": check}},
                redis={REDIS: redis_url},
            )
        )
        yield gateway, servers


@pytest.fixture(scope="module")
def redis():
    with EmbeddedRedis() as server:
        yield server


def chat(gateway, data):
    return gateway.client.post(f"{gateway.base}/v1/chat/completions", data=data)


def test_a_hundred_requests_at_once_are_spread_evenly(redis):
    """Each prompt ends only when all requests have reached a server: so the peaks are what the filter decided."""
    prompt = json.dumps({"stream": True, "max_tokens": 3}).encode()

    async def scenario():
        async with artifact_bench(redis.url) as (gateway, servers):
            live = gateway.live

            async def body():
                yield prompt[:-1]
                await gateway.until(lambda: sum(c.in_flight for c in live.observations.endpoints.values()) == REQUESTS)
                yield prompt[-1:]

            async def request():
                async with chat(gateway, body()) as response:
                    return response.status, await response.read()

            answers = await asyncio.gather(*(request() for _ in range(REQUESTS)))
            peaks = [row["in_flight_max"] for row in (await gateway.state())["endpoints"]]
            records = list(live.observations.requests)
            await gateway.until(lambda: all(record.done for record in records))
            return answers, peaks, records, [server.requests for server in servers], live

    answers, peaks, records, requests, live = run(scenario())
    assert {status for status, _ in answers} == {200}
    assert all(body.endswith(b"data: [DONE]\n\n") for _, body in answers)
    assert sorted(peaks) == sorted(requests) == [33, 33, 34]
    assert {record.reason for record in records} == {"chosen by the plugin"}
    assert live.worker.vm.contexts == {}  # the VM has ended, and the plugin gave all its leases back
    with redis.client() as client:
        keys = list(client.scan_iter("ailb:*in_flight*"))
        assert all(int(count) == 0 for key in keys for count in client.hvals(key))


def test_redis_is_switched_off():
    """Requests go on, on the gateway's own counts, and the filter says why."""

    async def scenario():
        with EmbeddedRedis() as server:
            async with artifact_bench(server.url) as (gateway, _):
                body = json.dumps({"max_tokens": 1}).encode()
                statuses = []
                for _ in range(2):
                    async with chat(gateway, body) as response:
                        statuses.append(response.status)
                    server.stop()
                records = list(gateway.live.observations.requests)
                await gateway.until(lambda: all(record.done for record in records))
                return statuses, [record.overridden for record in records], records[1].details["logs"]

    statuses, overridden, logs = run(scenario())
    assert (statuses, overridden) == ([200, 200], [True, True])
    assert any("this gateway's counts decide" in line for line in logs)
