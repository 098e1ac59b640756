"""Stand-in model servers: the HTTP interface of an OpenAI-style server, tokens at a fixed pace, vLLM's metrics.

async with ModelServer(token_interval_s=0.01) as server:
    ... server.address ...
    print(server.requests, server.in_flight_max)
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

from aiohttp import web

HOST = "127.0.0.1"
COMPLETION_TOKENS_DEFAULT = 16
COMPLETION_TOKENS_MAX = 4096
BODY_SIZE_MAX = 64 * 1024 * 1024
STOP_TIMEOUT_S = 2.0
STREAM_HEADERS = {"content-type": "text/event-stream", "cache-control": "no-cache"}


class ModelServer:
    """Serves /v1/chat/completions, /v1/completions, /metrics and /health on a loopback port (0: a free one).

    At most `running_max` requests produce tokens at a time, the others wait, as in a real engine's scheduler.
    """

    def __init__(
        self,
        name: str = "model",
        token_interval_s: float = 0.005,
        running_max: int = 256,
        kv_tokens: int = 100_000,
        port: int = 0,
    ) -> None:
        self.name = name
        self.token_interval_s = token_interval_s
        self.kv_tokens = kv_tokens
        self.port = port
        self.address = ""
        self.requests = 0
        self.in_flight = 0
        self.in_flight_max = 0
        self.running = 0
        self._kv_tokens_used = 0
        self._slots = asyncio.Semaphore(running_max)
        self._runner: web.AppRunner | None = None

    def __repr__(self) -> str:
        return f"<model server {self.name} at {self.address}: {self.requests} requests, {self.in_flight} in flight>"

    async def __aenter__(self) -> "ModelServer":
        app = web.Application(client_max_size=BODY_SIZE_MAX)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/health", self._health)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_TIMEOUT_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self.port)
        await site.start()
        self.address = f"{HOST}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def metrics_text(self) -> str:
        """What a gateway's health check would store."""
        label = f'{{model_name="{self.name}"}}'
        values = {
            "vllm:num_requests_running": float(self.running),
            "vllm:num_requests_waiting": float(self.in_flight - self.running),
            "vllm:kv_cache_usage_perc": min(1.0, self._kv_tokens_used / self.kv_tokens),
        }
        return "".join(f"# TYPE {key} gauge\n{key}{label} {value}\n" for key, value in values.items())

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(text=self.metrics_text(), content_type="text/plain")

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, chat=True)

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, chat=False)

    async def _serve(self, request: web.Request, chat: bool) -> web.StreamResponse:
        self.requests += 1
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        try:
            asked = _parse(await request.read())
            if isinstance(asked, str):
                return web.json_response({"error": {"message": asked, "type": "invalid_request_error"}}, status=400)
            answer = _Answer(self.name, chat, asked, self.requests)
            if asked.get("stream") is True:
                response = web.StreamResponse(headers=STREAM_HEADERS)
                with contextlib.suppress(ConnectionResetError):  # the client went away: nobody is left to answer
                    await self._stream(request, response, answer)
                return response
            words = [word async for word in self._tokens(answer)]
            return web.json_response(answer.whole("".join(words)))
        finally:
            self.in_flight -= 1

    async def _stream(self, request: web.Request, response: web.StreamResponse, answer: "_Answer") -> None:
        await response.prepare(request)
        async for word in self._tokens(answer):
            await response.write(answer.event(word, finish=None))
        await response.write(answer.event("", finish="length") + b"data: [DONE]\n\n")
        await response.write_eof()

    async def _tokens(self, answer: "_Answer") -> AsyncIterator[str]:
        """One word per token interval."""
        async with self._slots:
            self.running += 1
            self._kv_tokens_used += answer.tokens
            try:
                for number in range(answer.tokens):
                    await asyncio.sleep(self.token_interval_s)
                    yield f"word{number} "
            finally:
                self.running -= 1
                self._kv_tokens_used -= answer.tokens


class _Answer:
    """The JSON of one completion."""

    def __init__(self, model: str, chat: bool, asked: dict[str, Any], number: int) -> None:
        wanted = asked.get("max_tokens", COMPLETION_TOKENS_DEFAULT)
        if not isinstance(wanted, int):
            wanted = COMPLETION_TOKENS_DEFAULT
        self.tokens = max(1, min(wanted, COMPLETION_TOKENS_MAX))
        self._chat = chat
        self._common = {"id": f"cmpl-{model}-{number}", "created": int(time.time()), "model": asked.get("model", model)}

    def whole(self, text: str) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "finish_reason": "length"}
        choice |= {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        usage = {"prompt_tokens": 0, "completion_tokens": self.tokens, "total_tokens": self.tokens}
        kind = "chat.completion" if self._chat else "text_completion"
        return {**self._common, "object": kind, "choices": [choice], "usage": usage}

    def event(self, text: str, finish: str | None) -> bytes:
        """One server-sent event."""
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
        choice |= {"delta": {"content": text} if text else {}} if self._chat else {"text": text}
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        return b"data: %b\n\n" % json.dumps({**self._common, "object": kind, "choices": [choice]}).encode()


def _parse(body: bytes) -> dict[str, Any] | str:
    """The request's object, or what is wrong with it."""
    try:
        asked = json.loads(body)
    except ValueError as error:
        return f"the body is not JSON: {error}"
    return asked if isinstance(asked, dict) else "the body is not a JSON object"
