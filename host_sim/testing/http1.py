"""HTTP/1.1 messages with trailers, over asyncio streams: for the peers of a real Envoy.

Neither aiohttp's client nor its server sends or shows trailers.
"""

import asyncio
from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass, field

from ..errors import SimulatorError

LINE_SIZE_MAX = 256 * 1024
BODY_SIZE_MAX = 64 * 1024 * 1024
_BODILESS_STATUSES = (204, 304)

Pairs = list[tuple[str, str]]


class Http1Error(SimulatorError):
    """The peer closed the connection in the middle of a message, or sent what is no HTTP/1.1."""


@dataclass(slots=True)
class Message:
    """A request or a response; `start` is its first line, header names are in lower case."""

    start: str
    headers: Pairs
    chunks: list[bytes] = field(default_factory=list)
    trailers: Pairs = field(default_factory=list)
    complete: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


async def read_head(reader: asyncio.StreamReader) -> Message | None:
    """First line and headers; None if the peer closed the connection before."""
    start = await _line(reader)
    if not start:
        return None
    return Message(start, await _fields(reader))


async def read_body(reader: asyncio.StreamReader, message: Message, is_response: bool = False) -> None:
    """Fills in body and trailers as they come."""
    size = message.header("content-length")
    if (message.header("transfer-encoding") or "").lower() == "chunked":
        while count := _chunk_size(await _line(reader)):
            message.chunks.append(await _exactly(reader, _bounded(count)))
            await _line(reader)
        message.trailers = await _fields(reader)
    elif size is not None:
        left = _bounded(int(size))
        while left:
            chunk = await reader.read(left)
            if not chunk:
                raise Http1Error(f"the connection was closed {left} bytes before the end of the body")
            message.chunks.append(chunk)
            left -= len(chunk)
    elif is_response and int(message.start.split()[1]) not in _BODILESS_STATUSES:
        while chunk := await reader.read(LINE_SIZE_MAX):
            message.chunks.append(chunk)
    message.complete = True


def head(start: str, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = [start, *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


async def write_chunked(
    writer: asyncio.StreamWriter, chunks: AsyncIterable[bytes], trailers: Iterable[tuple[str, str]]
) -> None:
    """The body of a message whose headers said `transfer-encoding: chunked`; empty chunks are left out."""
    async for chunk in chunks:
        if chunk:
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await writer.drain()
    writer.write(head("0", trailers))
    await writer.drain()


async def _line(reader: asyncio.StreamReader) -> str:
    try:
        line = await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise Http1Error(f"the connection was closed within a line: {error.partial!r}") from error
        return ""
    except ConnectionError as error:
        raise Http1Error(f"the connection was reset: {error}") from error
    except asyncio.LimitOverrunError as error:
        raise Http1Error(f"a line of more than {LINE_SIZE_MAX} bytes") from error
    return line.decode("utf-8", "surrogateescape").rstrip("\r\n")


async def _fields(reader: asyncio.StreamReader) -> Pairs:
    pairs: Pairs = []
    while line := await _line(reader):
        name, _, value = line.partition(":")
        pairs.append((name.lower(), value.strip()))
    return pairs


def _chunk_size(line: str) -> int:
    try:
        return int(line.partition(";")[0], 16)
    except ValueError as error:
        raise Http1Error(f"the connection was closed within a body, or the size of a chunk is {line!r}") from error


async def _exactly(reader: asyncio.StreamReader, size: int) -> bytes:
    try:
        return await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise Http1Error(f"the connection was closed within a chunk of {size} bytes") from error


def _bounded(size: int) -> int:
    if size > BODY_SIZE_MAX:
        raise Http1Error(f"a body of more than {BODY_SIZE_MAX} bytes")
    return size
