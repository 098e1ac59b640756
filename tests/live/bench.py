"""A live gateway around the test plugin, or the artifact, for one test."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from host_sim.live import LiveGateway, parse_config

PLUGIN = {"native": "tests.live.plugin:Plugin", "config": {"greeting": "hello"}}
TIMEOUT_S = 30.0

Result = TypeVar("Result")


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(asyncio.wait_for(coroutine, TIMEOUT_S))


def document(*endpoints: str, **changes: Any) -> dict[str, Any]:
    """gateway.yaml as a mapping: one route to one cluster `llm`."""
    return {
        "listen": "127.0.0.1:0",
        "admin": "127.0.0.1:0",
        "drain_timeout_ms": 1000,
        "plugin": PLUGIN,
        "routes": [{"name": "all", "cluster": "llm"}],
        "clusters": {"llm": {"endpoints": list(endpoints)}},
        **changes,
    }


def configuration(*endpoints: str, **changes: Any) -> Any:
    return parse_config(json.dumps(document(*endpoints, **changes)), Path("gateway.yaml"))


class Bench:
    """The gateway and a client of it."""

    def __init__(self, live: LiveGateway, client: aiohttp.ClientSession) -> None:
        self.live = live
        self.client = client
        self.base = f"http://{live.address}"
        self.admin = f"http://{live.admin_address}"

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection of one's own."""
        assert self.live.address is not None
        return await asyncio.open_connection(self.live.address.host, self.live.address.port)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Waits for something that the observations see."""
        version = -1
        while not condition():
            version = await self.live.observations.wait_for_change(version)

    async def text(self, path: str, method: str = "GET", **options: Any) -> tuple[int, str]:
        async with self.client.request(method, self.base + path, **options) as response:
            return response.status, await response.text()

    async def state(self) -> Any:
        async with self.client.get(f"{self.admin}/state") as response:
            return await response.json()


@asynccontextmanager
async def bench(*endpoints: str, **changes: Any) -> AsyncIterator[Bench]:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with (
        LiveGateway(configuration(*endpoints, **changes)) as live,
        aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as client,
    ):
        yield Bench(live, client)
