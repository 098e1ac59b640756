"""Active health checks of one cluster, as a gateway makes them."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import aiohttp

from ..cluster import HEALTHY, Cluster, Endpoint
from .config import HealthCheck

UNHEALTHY = "Unhealthy"
METRICS_SIZE_MAX = 256 * 1024  # the text of all endpoints must fit into the 1 MiB that a host serialises


class HealthChecks:
    """Keeps `cluster.endpoints` up to date. `on_result(address, problem)` hears of every check; "" is a success."""

    def __init__(
        self,
        cluster: Cluster,
        settings: HealthCheck,
        session: aiohttp.ClientSession,
        on_result: Callable[[str, str], None],
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._session = session
        self._on_result = on_result
        self._rows: dict[str, int] = {}  # by address: successes in a row, or failures as a negative number
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Ends after the first check of every endpoint, which alone decides what the endpoint's health is at first."""
        addresses = [endpoint.address for endpoint in self._cluster.endpoints]
        await asyncio.gather(*(self.check(address, is_first=True) for address in addresses))
        self._tasks = [asyncio.create_task(self._repeat(address)) for address in addresses]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _repeat(self, address: str) -> None:
        while True:
            await asyncio.sleep(self._settings.interval_ms / 1000)
            await self.check(address, is_first=False)

    async def check(self, address: str, is_first: bool) -> None:
        """Ask once and count the result; the first one needs no others to be believed."""
        problem, text = await self._ask(address)
        row = self._rows.get(address, 0)
        row = (max(row, 0) + 1) if not problem else (min(row, 0) - 1)
        self._rows[address] = row
        endpoint = self._cluster.find(address)
        assert endpoint is not None, "a cluster's addresses never change"
        health = endpoint.health
        if row >= (1 if is_first else self._settings.healthy_threshold):
            health = HEALTHY
        elif -row >= (1 if is_first else self._settings.unhealthy_threshold):
            health = UNHEALTHY
        metrics = text if self._settings.store_metrics and not problem else endpoint.metrics
        self._put(replace(endpoint, health=health, metrics=metrics))
        self._on_result(address, problem)

    async def _ask(self, address: str) -> tuple[str, str]:
        """(what is wrong, or "", and the body)"""
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout_ms / 1000)
        try:
            async with self._session.get(
                f"http://{address}{self._settings.path}", timeout=timeout, allow_redirects=False
            ) as response:
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > METRICS_SIZE_MAX:
                        return f"a body above {METRICS_SIZE_MAX} bytes", ""
                if response.status != 200:
                    return f"status {response.status}", ""
                return "", body.decode("utf-8", "replace")
        except TimeoutError:
            return f"no answer within {self._settings.timeout_ms} ms", ""
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return str(error) or type(error).__name__, ""

    def _put(self, endpoint: Endpoint) -> None:
        endpoints = self._cluster.endpoints
        self._cluster.endpoints = [endpoint if one.address == endpoint.address else one for one in endpoints]
