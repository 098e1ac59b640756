"""A real Redis server, and the guests on which one scenario runs: plain CPython and the built module."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from host_sim import EmbeddedRedis

DIST = Path(__file__).parents[2] / "dist"


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture
def real_database(redis_server: EmbeddedRedis) -> Iterator["redis.Redis"]:
    """A client of an empty server."""
    with redis_server.client() as client:
        client.flushall()
        client.script_flush()
        yield client


@pytest.fixture
def database(real_database: "redis.Redis") -> "redis.Redis":
    return real_database


def guest_of(kind: str, target: str) -> str:
    if kind == "native":
        return "ai_load_balancer.plugin:AiLoadBalancer"
    module = DIST / f"ai-load-balancer.{target}.wasm"
    if not module.is_file():
        message = f"{module.name} is missing; `./build.sh` makes it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return str(module)


@pytest.fixture(params=["native", "wasm"])
def higress_guest(request: pytest.FixtureRequest) -> str:
    return guest_of(request.param, "higress")


@pytest.fixture(params=["native", "wasm"])
def envoy_guest(request: pytest.FixtureRequest) -> str:
    return guest_of(request.param, "envoy")
