"""Redis as the host sees it: bytes to and from one connection. Real server and scripts are peers under one Protocol."""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Protocol, TypeAlias

from .codec import RespValue, encode_reply, next_item

QUERIES_HELD_MAX = 10_000


class RedisEvents(Protocol):
    """Who is told what happens on a connection. Nothing comes after `connection_lost`."""

    def data_received(self, data: bytes) -> None: ...
    def connection_lost(self, reason: str) -> None: ...


class RedisLink(Protocol):
    """One connection; it may still be being made: what is sent meanwhile waits."""

    def send(self, data: bytes) -> None: ...
    def close(self) -> None: ...


class RedisBackend(Protocol):
    def connect(self, events: RedisEvents) -> RedisLink: ...


class TcpRedis:
    """A Redis server at host:port; needs a running asyncio loop."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    def __repr__(self) -> str:
        return f"TcpRedis({self.host}:{self.port})"

    def connect(self, events: RedisEvents) -> RedisLink:
        return _TcpLink(self.host, self.port, events)


class _TcpLink(asyncio.Protocol):
    def __init__(self, host: str, port: int, events: RedisEvents) -> None:
        self._events = events
        self._unsent: list[bytes] | None = []
        self._transport: asyncio.WriteTransport | None = None
        self._closed = False
        self._task = asyncio.get_running_loop().create_task(self._connect(host, port))

    async def _connect(self, host: str, port: int) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, host, port)
        except OSError as error:
            self._lost(f"{host}:{port}: {error}")

    def send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)
        elif self._unsent is not None:
            self._unsent.append(data)

    def close(self) -> None:
        self._closed = True
        self._task.cancel()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        if self._unsent:
            transport.write(b"".join(self._unsent))
        self._unsent = None

    def data_received(self, data: bytes) -> None:
        if not self._closed:
            self._events.data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._lost(str(error) if error is not None else "closed by the server")

    def _lost(self, reason: str) -> None:
        if not self._closed:
            self._closed = True
            self._events.connection_lost(reason)


class Fault(Enum):
    """What a script can do instead of replying."""

    NEVER = "never"  # nor to what follows on the same connection: replies keep the order of the commands
    DISCONNECT = "disconnect"


class Raw(bytes):
    """Bytes that a script puts on the connection as they are, for garbage."""


ScriptedReply: TypeAlias = "RespValue | Fault | Raw"


class ScriptedRedis:
    """Answers from a function of the command's arguments; nothing is awaited, no socket is opened.

    `script(arguments)` returns the value to reply with (see `codec.encode_reply`), a Fault, or Raw bytes.
    """

    def __init__(self, script: Callable[[list[bytes]], ScriptedReply]) -> None:
        self.script = script
        self.commands: deque[list[bytes]] = deque(maxlen=QUERIES_HELD_MAX)  # the newest

    def connect(self, events: RedisEvents) -> RedisLink:
        return _ScriptedLink(self._answer, events)

    def _answer(self, command: list[bytes], link: "_ScriptedLink") -> None:
        self.commands.append(command)
        link.answer(self.script(command))


class SteppedRedis:
    """For step-by-step driving: commands wait in `pending` until `reply` or `disconnect` is called.

    AUTH and SELECT of the host are answered at once.
    """

    def __init__(self) -> None:
        self.pending: deque[list[bytes]] = deque()
        self._links: deque[_ScriptedLink] = deque()

    def connect(self, events: RedisEvents) -> RedisLink:
        return _ScriptedLink(self._hold, events)

    def reply(self, value: ScriptedReply) -> None:
        """Answer the oldest pending command."""
        self.pending.popleft()
        self._links.popleft().answer(value)

    def _hold(self, command: list[bytes], link: "_ScriptedLink") -> None:
        if command[0].upper() in (b"AUTH", b"SELECT"):
            link.answer("OK")
            return
        if len(self.pending) >= QUERIES_HELD_MAX:
            raise OverflowError(f"{QUERIES_HELD_MAX} commands are pending")
        self.pending.append(command)
        self._links.append(link)


class CommandSplitter:
    """Cuts what is sent on a connection into commands."""

    def __init__(self) -> None:
        self._received = b""

    def feed(self, data: bytes) -> list[list[bytes]]:
        """The commands that are complete now; ValueError for what is no array of bulk strings."""
        self._received += data
        commands: list[list[bytes]] = []
        start = 0
        while (item := next_item(self._received, start)) is not None:
            value, start = item
            command = [part for part in value if isinstance(part, bytes)] if isinstance(value, list) else []
            if not command or not isinstance(value, list) or len(command) != len(value):
                raise ValueError(f"a query that is no array of bulk strings: {value!r}")
            commands.append(command)
        self._received = self._received[start:]
        return commands


class _ScriptedLink:
    """Hands on what is sent, command by command."""

    def __init__(self, on_command: Callable[[list[bytes], "_ScriptedLink"], None], events: RedisEvents) -> None:
        self._on_command = on_command
        self._events = events
        self._splitter = CommandSplitter()
        self._closed = False
        self._stuck = False

    def send(self, data: bytes) -> None:
        for command in self._splitter.feed(data):
            if self._closed:
                return
            self._on_command(command, self)

    def answer(self, reply: ScriptedReply) -> None:
        self._stuck = self._stuck or reply is Fault.NEVER
        if self._closed or self._stuck:
            return
        if isinstance(reply, Fault):
            self._closed = True
            self._events.connection_lost("disconnected by the script")
        else:
            self._events.data_received(reply if isinstance(reply, Raw) else encode_reply(reply))

    def close(self) -> None:
        self._closed = True
