"""The servers behind the gateway, as the gateway sees them: real HTTP and scripts are peers under one Protocol."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Protocol, TypeAlias

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from .codec import Pair
from .errors import SimulatorError
from .headers import HeaderMap, to_bytes, to_str

CONNECT_TIMEOUT_S = 5.0
CONNECTIONS_MAX = 4096
CHUNK_SIZE_MAX = 64 * 1024
_OURS = (b"host", b"content-length", b"transfer-encoding", b"connection")  # made anew by the client


class UpstreamFailed(SimulatorError):
    """No response, or a response that broke off."""


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """`body` yields chunks until the request ends; `body_size` is the whole size if the request has ended already."""

    address: str
    headers: HeaderMap
    body: AsyncIterator[bytes]
    body_size: int | None

    def header(self, name: str) -> str:
        return to_str(self.headers.get(name.encode()) or b"")


@dataclass(frozen=True, slots=True)
class ResponseHeaders:
    pairs: list[Pair]
    end_of_stream: bool = False


@dataclass(frozen=True, slots=True)
class ResponseTrailers:
    pairs: list[Pair]


UpstreamEvent: TypeAlias = ResponseHeaders | bytes | ResponseTrailers


class Upstream(Protocol):
    def exchange(self, request: UpstreamRequest) -> AsyncGenerator[UpstreamEvent, None]:
        """Headers, then chunks, then perhaps trailers, as they come; UpstreamFailed if the server breaks off."""

    async def close(self) -> None: ...


class HttpUpstream:
    """Real servers over HTTP/1.1."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def exchange(self, request: UpstreamRequest) -> AsyncGenerator[UpstreamEvent, None]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        url = URL(f"http://{request.address}{request.header(':path') or '/'}", encoded=True)
        headers = CIMultiDict(
            (to_str(name), to_str(value))
            for name, value in request.headers
            if not name.startswith(b":") and name not in _OURS
        )
        headers["Host"] = request.header(":authority") or request.address
        body = None if request.body_size == 0 else request.body
        if request.body_size:
            headers["Content-Length"] = str(request.body_size)
        try:
            async with self._session.request(
                request.header(":method") or "GET", url, headers=headers, data=body, allow_redirects=False
            ) as response:
                pairs = [(b":status", b"%d" % response.status)]
                pairs += [(name.lower(), value) for name, value in response.raw_headers]
                yield ResponseHeaders([pair for pair in pairs if pair[0] not in (b"transfer-encoding", b"connection")])
                async for chunk in response.content.iter_any():
                    yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UpstreamFailed(f"{request.address}: {error}") from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


@dataclass(frozen=True, slots=True)
class ScriptedRequest:
    """What a scripted upstream is asked."""

    address: str
    method: str
    path: str
    headers: HeaderMap
    body: bytes


@dataclass(frozen=True, slots=True)
class ScriptedResponse:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    chunks: Sequence[bytes] = ()
    trailers: dict[str, str] = field(default_factory=dict)
    fails_after: bool = False  # the connection breaks after the chunks


UpstreamScript: TypeAlias = Callable[[ScriptedRequest], ScriptedResponse | Awaitable[ScriptedResponse]]


def name_itself(request: ScriptedRequest) -> ScriptedResponse:
    """200, and the address of the endpoint as the body."""
    return ScriptedResponse(chunks=(request.address.encode(),))


class ScriptedUpstream:
    """Answers from a function, plain or async; no socket is opened. UpstreamFailed raised there is a failure."""

    def __init__(self, script: UpstreamScript = name_itself) -> None:
        self._script = script

    async def exchange(self, request: UpstreamRequest) -> AsyncGenerator[UpstreamEvent, None]:
        body = b"".join([chunk async for chunk in request.body])
        asked = ScriptedRequest(
            request.address, request.header(":method"), request.header(":path"), request.headers, body
        )
        answer = self._script(asked)
        response = await answer if isawaitable(answer) else answer
        pairs = [(b":status", b"%d" % response.status)]
        pairs += [(to_bytes(name), to_bytes(value)) for name, value in response.headers.items()]
        yield ResponseHeaders(pairs, end_of_stream=not (response.chunks or response.trailers or response.fails_after))
        for chunk in response.chunks:
            yield chunk
        if response.fails_after:
            raise UpstreamFailed(f"{request.address} broke off")
        if response.trailers:
            yield ResponseTrailers([(to_bytes(name), to_bytes(value)) for name, value in response.trailers.items()])

    async def close(self) -> None:
        pass
