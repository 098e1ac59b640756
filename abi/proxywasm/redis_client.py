"""Redis through the host (Higress): commands and scripts by callback.

A callback gets the decoded reply (bytes, int, None or a list of these) or, as a value, what went wrong:
RedisUnreachable, RedisReplyError, RedisProtocolError. When the context that made the call is gone by then, its `orphan`
callback gets the value instead, with the root as the current context, so that it can undo what the call has done;
without one the reply is dropped and counted.

The host keeps the connections and logs in by itself, but it forgets what `redis_init` said when its cluster is made
anew, and refuses it while the cluster is not there yet. So a client that was refused initialises itself again on use,
at most every INIT_RETRY_INTERVAL_MS. A call that got no reply does not cause this: the host reconnects by itself, and
some versions of Higress close all connections of the worker at an init, with every call that waits on them.
"""

import logging
from collections.abc import Callable, Sequence
from typing import TypeAlias

from . import _pending
from ._host import RedisValue, host
from .contexts import Context, RootContext
from .enums import BufferType
from .errors import HostError, RedisError, RedisProtocolError, RedisReplyError, RedisUnreachable, TooManyPendingCalls

try:  # hashlib would bring every other hash into the module
    from _sha1 import sha1  # type: ignore[import-not-found]
except ImportError:
    from hashlib import sha1

DEFAULT_TIMEOUT_MS = 3000
INIT_RETRY_INTERVAL_MS = 1000

# The host can collect queries for some milliseconds to send fewer packets. A request waits for the reply, so each is
# sent at once: a packet more costs less than the 3 ms that the default may add to every request.
_UNBUFFERED = "buffer_flush_timeout=0&max_buffer_size_before_flush=0"

Argument: TypeAlias = str | bytes | int
Callback: TypeAlias = Callable[[RedisValue], object]

_REPLY_BUFFER = int(BufferType.REDIS_CALL_RESPONSE)
_FINE_REPLIES = (b":", b"+", b"$", b"*")  # how they begin

_redis_call = host.redis_call
_encode_command = host.encode_command
_decode_reply = host.decode_reply
_get_buffer_bytes = host.get_buffer_bytes
_set_effective_context = host.set_effective_context

_logger = logging.getLogger(__name__)


class RedisScript:
    """A Lua script, called by its SHA-1; Redis gets the source when it says that it does not know it.

    A command that runs it is (*script.by_sha, *keys, *arguments).
    """

    __slots__ = ("by_sha", "by_source", "name")

    def __init__(self, name: str, source: str, num_keys: int) -> None:
        self.name = name
        sha = sha1(source.encode(), usedforsecurity=False).hexdigest()
        self.by_sha: tuple[Argument, ...] = ("EVALSHA", sha, str(num_keys))
        self.by_source: tuple[Argument, ...] = ("EVAL", source, str(num_keys))

    def with_keys(self, num_keys: int) -> "RedisScript":
        """The same script for another number of keys."""
        other = RedisScript.__new__(RedisScript)
        other.name = self.name
        other.by_sha = (*self.by_sha[:2], str(num_keys))
        other.by_source = (*self.by_source[:2], str(num_keys))
        return other

    def __repr__(self) -> str:
        return f"RedisScript({self.name!r})"


class RedisClient:
    """One Redis cluster of the proxy, for example `outbound|6379||redis.static`. The password is never logged."""

    def __init__(
        self,
        cluster: str,
        username: str = "",
        password: str = "",
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
        database: int = 0,
    ) -> None:
        self.cluster = cluster
        self.database = database
        self.timeout_ms = timeout_ms
        self._username = username
        self._password = password
        self._is_ready = False
        self._next_init_ns = 0

    def __repr__(self) -> str:
        state = "ready" if self._is_ready else "not ready"
        return f"RedisClient({self.cluster!r}, database={self.database}, {state})"

    def init(self) -> None:
        """Tells the host how to reach Redis. Raises RedisUnreachable if it refuses; calls will try again."""
        self._next_init_ns = host.get_current_time_nanoseconds() + INIT_RETRY_INTERVAL_MS * 1_000_000
        try:
            host.redis_init(
                f"{self.cluster}?db={self.database}&{_UNBUFFERED}", self._username, self._password, self.timeout_ms
            )
        except HostError as error:
            raise RedisUnreachable(f"{self.cluster}: {error}") from error
        self._is_ready = True

    def call(
        self,
        context: Context,
        command: Sequence[Argument],
        callback: Callback | None = None,
        orphan: Callback | None = None,
        script: RedisScript | None = None,
    ) -> int:
        """Sends one command, for example ("GET", "key"). Returns the call's id.

        `script` is the one that the command runs by its SHA-1, if it does: then it is sent again with the source if
        need be. Without a callback a failure is logged, at level INFO. Raises RedisUnreachable if the command could not
        be sent; then no callback follows.
        """
        if not self._is_ready:
            self._init_again()
        if len(_calls) >= _pending.MAX_PENDING_CALLS:
            _make_room()
        try:
            call_id = _redis_call(self.cluster, _encode_command(command))
        except HostError as error:
            self._is_ready = False
            raise RedisUnreachable(f"{self.cluster}: {error}") from error
        _calls[call_id] = (context, callback, orphan, self, script, command)
        return call_id

    def _init_again(self) -> None:
        if host.get_current_time_nanoseconds() < self._next_init_ns:
            raise RedisUnreachable(f"{self.cluster}: the host refused it less than {INIT_RETRY_INTERVAL_MS} ms ago")
        self.init()


# One is made for every request, so it is a plain tuple:
# context, callback, orphan, client, script, command
_Call: TypeAlias = tuple[Context, Callback | None, Callback | None, RedisClient, RedisScript | None, Sequence[Argument]]

_calls: dict[int, _Call] = {}


def _make_room() -> None:
    try:
        _pending.make_room(_calls, lambda call: call[0])
    except TooManyPendingCalls as error:
        raise RedisUnreachable(str(error)) from error


def on_response(root_id: int, call_id: int, status: int, response_size: int) -> None:
    """The host's callback on_redis_call_response; a status other than 0 means that no reply came."""
    call = _calls.pop(call_id, None)
    if call is None:
        _pending.dropped_replies.increment(1)
        return
    if call[1] is None and not status and _get_buffer_bytes(_REPLY_BUFFER, 0, 1) in _FINE_REPLIES:
        return  # nobody waits for what it says
    value: RedisValue
    if status:
        value = RedisUnreachable(f"{call[3].cluster}: no reply (connection failed, closed or timed out)")
    else:
        try:
            value = _decode_reply(_get_buffer_bytes(_REPLY_BUFFER, 0, response_size) or b"")
        except ValueError as error:
            value = RedisProtocolError(f"{call[3].cluster}: {error}")
    if isinstance(value, RedisError):
        again = _after_error(call, value)
        if again is None:
            return
        value = again
    context, callback, orphan, _client, _script, _command = call
    if context.is_deleted:
        if orphan is None:
            _pending.dropped_replies.increment(1)
        else:
            orphan(value)
    elif callback is not None:
        if not isinstance(context, RootContext):
            _set_effective_context(context.context_id)
        callback(value)


def _after_error(call: _Call, error: RedisError) -> RedisError | None:
    """The error for the callback, or None if the command was sent again."""
    context, callback, orphan, client, script, command = call
    text = str(error)
    if isinstance(error, RedisReplyError):
        if text.startswith("NOAUTH"):
            client._is_ready = False
        elif script is not None and text.startswith("NOSCRIPT") and not context.is_deleted:
            try:
                client.call(context, (*script.by_source, *command[len(script.by_sha) :]), callback, orphan)
            except RedisUnreachable as unreachable:
                error = unreachable
            else:
                return None
    if callback is None:
        _logger.info("Redis, %s: %s", command[0], error)
    return error
