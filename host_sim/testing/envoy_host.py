"""A real Envoy as a host of tests. What it does inside (callbacks, actions, host calls) cannot be seen from here."""

import asyncio
import itertools
import re
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from urllib.parse import urlsplit

from proxywasm.enums import LogLevel

from ..errors import SimulatorError
from ..exchange import Exchange
from ..headers import HeaderMap, Headers, to_str
from ..simulator import AUTHORITY, REQUEST_TIMEOUT_S, Abort, Body
from .envoy_process import Envoy
from .hosts import HostKind, LogLine, Loop, Pending
from .http1 import LINE_SIZE_MAX, Http1Error, Message, head, read_body, read_head, write_chunked
from .options import Addresses
from .script_server import Received

ID_HEADER = "x-exchange-id"  # joins what the client sent to what an upstream got
METRIC_PREFIX = "wasmcustom."
_LOG_LINE = re.compile(r"^\[[^\]]*\]\[[^\]]*\]\[(\w+)\]\[wasm\] \[[^\]]*\] wasm log[^:]*: (.*)$", re.MULTILINE)
_LEVELS = {
    "trace": LogLevel.TRACE,
    "debug": LogLevel.DEBUG,
    "info": LogLevel.INFO,
    "warning": LogLevel.WARN,
    "error": LogLevel.ERROR,
    "critical": LogLevel.CRITICAL,
}
_ids = itertools.count(1)


class EnvoyHost:
    """hosts.Host: one listener of a running Envoy, whose upstreams enter what they get in `received`.

    Whoever starts the upstreams shares `loop` with this host; `close` leaves both running.
    """

    kind: HostKind = "envoy"

    def __init__(
        self, envoy: Envoy, listener: str, received: "deque[Received]", loop: Loop, clusters: Addresses
    ) -> None:
        self.envoy = envoy
        self.clusters = clusters
        self._url = urlsplit(envoy.urls[listener])
        self._received = received
        self._loop = loop

    def request(
        self,
        method: str = "GET",
        path: str = "/",
        headers: Headers = (),
        body: Body = b"",
        *,
        trailers: Headers = (),
        abort: Abort | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> Exchange:
        if abort == "paused":
            raise SimulatorError("nobody outside can see whether Envoy holds a request: start() it and cancel() it")
        return self._loop.run(self._request(method, path, headers, body, trailers, abort, timeout_s))

    def start(
        self, method: str = "GET", path: str = "/", headers: Headers = (), body: Body = b"", *, trailers: Headers = ()
    ) -> Pending:
        return self._loop.start(self._request(method, path, headers, body, trailers, None, REQUEST_TIMEOUT_S))

    def metrics(self) -> dict[str, int]:
        stats = self.envoy.stats(METRIC_PREFIX)
        return {name.removeprefix(METRIC_PREFIX): value for name, value in stats.items()}

    def logs(self) -> list[LogLine]:
        return [LogLine(_LEVELS[level], message) for level, message in _LOG_LINE.findall(self.envoy.log())]

    def describe(self) -> str:
        return "\n".join(f"[{line.level.name}] {line.message}" for line in self.logs())

    def close(self) -> None:
        pass

    async def _request(
        self,
        method: str,
        path: str,
        headers: Headers,
        body: Body,
        trailers: Headers,
        abort: Abort | None,
        timeout_s: float,
    ) -> Exchange:
        exchange_id = str(next(_ids))
        pairs = [(to_str(name), to_str(value)) for name, value in HeaderMap(headers)]
        host = next((value for name, value in pairs if name == ":authority"), AUTHORITY)
        sent = [("host", host), (ID_HEADER, exchange_id), *(pair for pair in pairs if pair[0] != ":authority")]
        ended = [(to_str(name), to_str(value)) for name, value in HeaderMap(trailers)]
        reader, writer = await asyncio.open_connection(self._url.hostname, self._url.port, limit=LINE_SIZE_MAX)
        response: Message | None = None
        reason = ""
        try:
            async with asyncio.timeout(timeout_s):
                sending = asyncio.create_task(_send(writer, f"{method} {path} HTTP/1.1", sent, body, ended))
                try:
                    response = await read_head(reader)
                    if response is None:
                        reason = "Envoy closed the connection"
                    elif abort is None and method != "HEAD":
                        await read_body(reader, response, is_response=True)
                finally:
                    sending.cancel()
                    with suppress(asyncio.CancelledError, ConnectionError):
                        await sending
        except (Http1Error, ConnectionError) as error:
            reason = str(error)
        except TimeoutError:
            raise SimulatorError(f"the request did not end within {timeout_s} s\n{self.describe()}") from None
        finally:
            writer.close()
        return self._exchange(response or Message("", []), reason, self._received_of(exchange_id))

    def _received_of(self, exchange_id: str) -> Received | None:
        found = [received for received in self._received if received.message.header(ID_HEADER) == exchange_id]
        return found[-1] if found else None

    def _exchange(self, response: Message, reason: str, received: Received | None) -> Exchange:
        return Exchange(
            status=int(response.start.split()[1]) if response.start else 0,
            headers=[pair for pair in response.headers if pair[0] != "transfer-encoding"],
            chunks=list(response.chunks),
            trailers=response.trailers,
            endpoint=received.address if received is not None else None,
            overridden=False,
            local_reply=None,
            reset_reason=reason,
            route_cache_clears=0,
            upstream_headers=received.pairs if received is not None else None,
            upstream_body=received.message.body if received is not None else b"",
            upstream_trailers=received.message.trailers if received is not None else [],
            callbacks=[],
            host_calls=[],
            logs=[],
        )


async def _send(
    writer: asyncio.StreamWriter, start: str, pairs: list[tuple[str, str]], body: Body, trailers: list[tuple[str, str]]
) -> None:
    whole = body.encode() if isinstance(body, str) else body
    if isinstance(whole, bytes) and not trailers:
        length = [("content-length", str(len(whole)))] if whole else []
        writer.write(head(start, [*pairs, *length]) + whole)
        await writer.drain()
        return
    writer.write(head(start, [*pairs, ("transfer-encoding", "chunked")]))
    await writer.drain()
    await write_chunked(writer, _each(whole), trailers)


async def _each(body: Body) -> AsyncIterator[bytes]:
    if isinstance(body, bytes | str):
        yield body.encode() if isinstance(body, str) else body
    elif isinstance(body, AsyncIterable):
        async for chunk in body:
            yield chunk
    else:
        for chunk in body:
            yield chunk
