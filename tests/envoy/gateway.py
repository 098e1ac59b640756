"""A real Envoy in front of a fleet of upstreams, and a client to it: what most tests here talk to."""

import asyncio
import io
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import aiohttp

from host_sim.testing.envoy_process import POLL_INTERVAL_S, Envoy
from tests.envoy.upstreams import NAME_HEADER, WAIT_TIMEOUT_S, Fleet

T = TypeVar("T")
CHAT_PATH = "/v1/chat/completions"
CHAT_BODY = b'{"model": "m", "stream": true, "messages": [{"role": "user", "content": "hi"}]}'


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete response; `upstream` is the name of the server that gave it, None if Envoy answered by itself."""

    status: int
    upstream: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Gateway:
    envoy: Envoy
    fleet: Fleet
    runner: asyncio.Runner

    def run(self, scenario: Callable[["Client"], Awaitable[T]]) -> T:
        """Runs a scenario with a fresh client; afterwards every reply is released and every stream torn down."""

        async def main() -> T:
            self.fleet.forget()
            connector = aiohttp.TCPConnector(limit=0)
            timeout = aiohttp.ClientTimeout(total=WAIT_TIMEOUT_S)
            async with aiohttp.ClientSession(self.envoy.url, connector=connector, timeout=timeout) as session:
                client = Client(session)
                try:
                    return await scenario(client)
                finally:
                    self.fleet.release()
                    await asyncio.gather(*client.started, return_exceptions=True)
                    await self.wait_for_active_requests(0)

        return self.runner.run(main())

    async def wait_for_active_requests(self, count: int) -> None:
        """Waits until Envoy has `count` streams; a stream counts until its filters, too, have been told of its end."""
        try:
            async with asyncio.timeout(WAIT_TIMEOUT_S):
                while await asyncio.to_thread(self.envoy.active_requests) != count:
                    await asyncio.sleep(POLL_INTERVAL_S)
        except TimeoutError:
            raise AssertionError(f"Envoy still has {self.envoy.active_requests()} requests, not {count}") from None


@dataclass(frozen=True, slots=True)
class Client:
    session: aiohttp.ClientSession
    started: "list[asyncio.Task[Answer]]" = field(default_factory=list)

    async def request(
        self,
        method: str = "POST",
        path: str = CHAT_PATH,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = CHAT_BODY,
    ) -> Answer:
        async with self.session.request(method, path, headers=headers, data=body and io.BytesIO(body)) as response:
            return Answer(response.status, response.headers.get(NAME_HEADER), await response.read())

    def start(self) -> "asyncio.Task[Answer]":
        """A chat request on its way; cancelling the task closes its connection."""
        task = asyncio.create_task(self.request())
        self.started.append(task)
        return task
