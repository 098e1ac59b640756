"""A Redis server at the end of a network: latency in both directions, and what can go wrong with a command.

On one connection commands and replies keep their order, as TCP does; what was sent arrives even if the sender closed
the connection meanwhile. A connection that got stuck (NEVER, LOST) says nothing more until the host's timeout closes
it.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from ..clock import NANOSECONDS_PER_MS, Scheduler
from ..codec import RespError, encode_reply
from ..memory_redis import MemoryRedis
from ..redis_backend import CommandSplitter, RedisEvents, RedisLink

ERROR_REPLIES = (
    "LOADING Redis is loading the dataset in memory",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "READONLY You can't write against a read only replica.",
    "NOSCRIPT No matching script. Please use EVAL.",
    "NOAUTH Authentication required.",
)
GARBAGE = (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\xff\0\xff", b"$-5\r\n", b"*2\r\n:x\r\n:1\r\n")
WRONG_REPLIES = (
    b"*0\r\n",
    b"$-1\r\n",
    b"+QUEUED\r\n",
    b"*2\r\n:99\r\n:1\r\n",
    b"*2\r\n:1\r\n:-1\r\n",
    b"$3\r\nabc\r\n",
)


class CommandFault(Enum):
    """What goes wrong with one command; "done" is whether the server runs it."""

    NEVER = auto()  # not done, no reply, and the connection is stuck
    LOST = auto()  # done, no reply, and the connection is stuck
    DISCONNECT_BEFORE = auto()  # not done, the server closes the connection
    DISCONNECT_AFTER = auto()  # done, the server closes the connection instead of replying
    MID_REPLY = auto()  # done, the server closes the connection after half of the reply
    GARBAGE = auto()  # done, the reply is no RESP
    WRONG_REPLY = auto()  # done, the reply is another one
    ERROR = auto()  # not done, an error reply
    LATE = auto()  # done, the reply comes `late_ms` later


_NOT_DONE = frozenset({CommandFault.NEVER, CommandFault.DISCONNECT_BEFORE, CommandFault.ERROR})
_NO_REPLY = frozenset(
    {CommandFault.NEVER, CommandFault.LOST, CommandFault.DISCONNECT_BEFORE, CommandFault.DISCONNECT_AFTER}
)
_CLOSES = frozenset({CommandFault.DISCONNECT_BEFORE, CommandFault.DISCONNECT_AFTER, CommandFault.MID_REPLY})
_STUCK = frozenset({CommandFault.NEVER, CommandFault.LOST})


class TimedRedis:
    """redis_backend.RedisBackend over a MemoryRedis.

    latency_ms: asked for every way of every command, in ms
    fault: asked for every command that arrives; None: all goes well
    refuse: asked for every connection; True: nobody listens
    choose: an index below the given number, where a fault has several faces
    """

    def __init__(
        self,
        server: MemoryRedis,
        scheduler: Scheduler,
        latency_ms: Callable[[], float] = lambda: 0.25,
        fault: Callable[[list[bytes]], CommandFault | None] = lambda command: None,
        refuse: Callable[[], bool] = lambda: False,
        choose: Callable[[int], int] = lambda number: 0,
        late_ms: float = 10_000.0,
    ) -> None:
        self.server = server
        self.scheduler = scheduler
        self.latency_ms = latency_ms
        self.fault = fault
        self.refuse = refuse
        self.choose = choose
        self.late_ms = late_ms
        self.commands = 0  # that arrived
        self.connections = 0

    def __repr__(self) -> str:
        return f"<TimedRedis: {self.connections} connections, {self.commands} commands>"

    def connect(self, events: RedisEvents) -> RedisLink:
        self.connections += 1
        return _Link(self, events)


class _Way:
    """One direction of a connection: what is sent arrives later and in order."""

    def __init__(self, redis: TimedRedis, arrive: Callable[[bytes | None], None]) -> None:
        self._redis = redis
        self._arrive = arrive
        self._on_the_way: deque[bytes | None] = deque()
        self._latest_ns = 0

    def send(self, data: bytes | None, extra_ms: float = 0.0) -> None:
        scheduler = self._redis.scheduler
        now_ns = scheduler.monotonic_ns()
        way_ns = round((self._redis.latency_ms() + extra_ms) * NANOSECONDS_PER_MS)
        self._latest_ns = max(self._latest_ns, now_ns + way_ns)
        self._on_the_way.append(data)
        scheduler.call_later((self._latest_ns - now_ns) / NANOSECONDS_PER_MS, self._next)

    def _next(self) -> None:
        """The oldest arrives, whichever event this is: two that fall due together may be a rounding error apart."""
        self._arrive(self._on_the_way.popleft())


class _Link:
    """One connection. What goes to the client as None closes it."""

    def __init__(self, redis: TimedRedis, events: RedisEvents) -> None:
        self._redis = redis
        self._events = events
        self._session = redis.server.session()
        self._splitter = CommandSplitter()
        self._to_server = _Way(redis, self._arrive)
        self._to_client = _Way(redis, self._tell)
        self._closed_by_client = False
        self._server_is_deaf = redis.refuse()
        if self._server_is_deaf:
            self._to_client.send(None)

    def send(self, data: bytes) -> None:
        self._to_server.send(data)

    def close(self) -> None:
        self._closed_by_client = True

    def _arrive(self, data: bytes | None) -> None:
        for command in self._splitter.feed(data or b""):
            if not self._server_is_deaf:
                self._redis.commands += 1
                self._serve(command, self._redis.fault(command))

    def _serve(self, command: list[bytes], fault: CommandFault | None) -> None:
        reply = b"" if fault in _NOT_DONE else encode_reply(self._session.execute(command))
        if fault is not None:
            reply = self._spoil(reply, fault)
        if fault not in _NO_REPLY:
            self._to_client.send(reply, self._redis.late_ms if fault is CommandFault.LATE else 0.0)
        if fault in _CLOSES:
            self._to_client.send(None)
        self._server_is_deaf = fault in _CLOSES or fault in _STUCK

    def _spoil(self, reply: bytes, fault: CommandFault) -> bytes:
        choose = self._redis.choose
        if fault is CommandFault.MID_REPLY:
            return reply[: len(reply) // 2]
        if fault is CommandFault.GARBAGE:
            return GARBAGE[choose(len(GARBAGE))]
        if fault is CommandFault.WRONG_REPLY:
            return WRONG_REPLIES[choose(len(WRONG_REPLIES))]
        if fault is CommandFault.ERROR:
            return encode_reply(RespError(ERROR_REPLIES[choose(len(ERROR_REPLIES))]))
        return reply

    def _tell(self, data: bytes | None) -> None:
        if self._closed_by_client:
            return
        if data is None:
            self._closed_by_client = True
            self._events.connection_lost("closed by the server")
        else:
            self._events.data_received(data)
