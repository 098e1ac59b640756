"""Higress's Redis client of one cluster: one connection, pipelined, with its own small buffer of queries.

AUTH and SELECT go first on every connection and their replies are dropped. A timeout, a broken connection or bytes
that are not RESP close the connection and fail every call on it; the next call connects anew.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from proxywasm.enums import RedisStatus, Status

from .clock import Priority, Scheduler, Timer
from .codec import encode_command, reply_end
from .errors import HostCallError
from .redis_backend import RedisBackend, RedisLink

PIPELINE_MAX = 10_000  # calls on the way; more are refused
BUFFER_FLUSH_TIMEOUT_MS = 3
BUFFER_SIZE_MAX_BYTES = 1024

Done = Callable[[RedisStatus, bytes], None]


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """What redis_init sets; 0 for both buffer values switches buffering off."""

    username: str = ""
    password: str = field(default="", repr=False)
    database: int = 0
    timeout_ms: int = 1000
    flush_timeout_ms: int = BUFFER_FLUSH_TIMEOUT_MS
    buffer_size_max_bytes: int = BUFFER_SIZE_MAX_BYTES


def parse_cluster(text: str) -> tuple[str, dict[str, int]]:
    """(bare cluster name, numbers after the "?") of redis_init's first argument."""
    name, _, query = text.partition("?")
    try:
        return name, {key: int(values[-1]) for key, values in parse_qs(query).items()}
    except ValueError as error:
        raise HostCallError(Status.BAD_ARGUMENT, f"parameters of the Redis cluster {text!r}: {error}") from error


@dataclass(slots=True)
class _Call:
    done: Done
    timer: Timer | None = None


class RedisClient:
    def __init__(self, backend: RedisBackend, settings: RedisSettings, scheduler: Scheduler) -> None:
        self.settings = settings
        self._backend = backend
        self._scheduler = scheduler
        self._connection: _Connection | None = None

    def call(self, query: bytes, done: Done) -> None:
        """Send one command; `done` is called once."""
        if self._connection is None or self._connection.closed:
            self._connection = _Connection(self._backend, self.settings, self._scheduler)
        self._connection.call(query, done)

    def flush(self) -> None:
        """Send what is buffered now."""
        if self._connection is not None:
            self._connection.flush()

    def disconnect(self) -> None:
        """Close the connection; the pending calls fail."""
        if self._connection is not None:
            self._connection.fail()

    def close(self) -> None:
        """Without telling the pending calls."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Connection:
    def __init__(self, backend: RedisBackend, settings: RedisSettings, scheduler: Scheduler) -> None:
        self.closed = False
        self._broken = False  # bytes came that are not RESP
        self._settings = settings
        self._scheduler = scheduler
        self._calls: deque[_Call] = deque()
        self._received = bytearray()
        self._unsent = bytearray()
        self._flush_timer: Timer | None = None
        self._link: RedisLink = backend.connect(self)
        self._greet()

    def _greet(self) -> None:
        settings = self._settings
        greetings: list[list[str | bytes | int]] = []
        if settings.password:
            greetings.append(["AUTH", *([settings.username] if settings.username else []), settings.password])
        if settings.database:
            greetings.append(["SELECT", settings.database])
        for command in greetings:
            self._calls.append(_Call(lambda status, reply: None))
            self._link.send(encode_command(command))

    def call(self, query: bytes, done: Done) -> None:
        if len(self._calls) >= PIPELINE_MAX:
            raise HostCallError(Status.INTERNAL_FAILURE, f"{PIPELINE_MAX} Redis calls are pending")
        call = _Call(done)
        if self._settings.timeout_ms:
            call.timer = self._scheduler.call_later(self._settings.timeout_ms, self.fail, Priority.TIMEOUT)
        self._calls.append(call)
        self._unsent += query
        if len(self._unsent) > self._settings.buffer_size_max_bytes or not self._settings.flush_timeout_ms:
            self.flush()
        elif self._flush_timer is None:
            self._flush_timer = self._scheduler.call_later(self._settings.flush_timeout_ms, self.flush)

    def flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if self._unsent and not self.closed:
            data, self._unsent = bytes(self._unsent), bytearray()
            self._link.send(data)

    def data_received(self, data: bytes) -> None:
        self._received += data
        start = 0
        ended: list[tuple[_Call, bytes]] = []  # told only after the bytes are consumed: a call may follow at once
        while (end := self._reply_end(start)) is not None and self._calls:
            ended.append((self._calls.popleft(), bytes(self._received[start:end])))
            start = end
        del self._received[:start]
        surplus = bool(self._received) and not self._calls
        for call, reply in ended:
            self._end(call, RedisStatus.OK, reply)
        if self._broken or surplus:
            self.fail()

    def _reply_end(self, start: int) -> int | None:
        try:
            return reply_end(self._received, start)
        except ValueError:
            self._broken = True
            return None

    def connection_lost(self, reason: str) -> None:
        self.fail()

    def close(self) -> None:
        self.closed = True
        self._link.close()
        for timer in [self._flush_timer, *(call.timer for call in self._calls)]:
            if timer is not None:
                timer.cancel()

    def fail(self) -> None:
        """Close, and fail every call on the way."""
        if self.closed:
            return
        calls, self._calls = self._calls, deque()
        self.close()
        for call in calls:
            self._end(call, RedisStatus.NETWORK_ERROR, b"")

    @staticmethod
    def _end(call: _Call, status: RedisStatus, reply: bytes) -> None:
        if call.timer is not None:
            call.timer.cancel()
        call.done(status, reply)
