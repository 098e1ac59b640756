"""The commands, one function each: `(store, arguments) -> reply`, registered with their arity.

Replies and error texts are those of Redis; what this server does not have is an error that says so.
"""

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TypeAlias

from ..codec import RespError, RespValue
from .store import Store

Arguments: TypeAlias = list[bytes]
Command: TypeAlias = Callable[[Store, Arguments], RespValue]

COMMANDS: dict[bytes, tuple[int, Command]] = {}  # name: (fewest arguments after it, function)
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1
SYNTAX = "ERR syntax error"
NO_INTEGER = "ERR value is not an integer or out of range"
NO_FLOAT = "ERR value is not a valid float"


def command(name: str, fewest: int) -> Callable[[Command], Command]:
    def register(function: Command) -> Command:
        COMMANDS[name.encode()] = (fewest, function)
        return function

    return register


def integer(text: bytes, error: str = NO_INTEGER) -> int:
    digits = text[1:] if text[:1] == b"-" else text
    if not digits.isdigit() or not INTEGER_MIN <= int(text) <= INTEGER_MAX:
        raise RespError(error)
    return int(text)


def number(text: bytes, error: str = NO_FLOAT) -> float:
    try:
        value = float(text)
    except ValueError:
        raise RespError(error) from None
    if value != value:
        raise RespError(error)
    return value


def number_text(value: float) -> bytes:
    if value.is_integer() and abs(value) < 1e17:
        return b"%d" % int(value)
    return repr(value).encode()


@command("PING", 0)
def _ping(store: Store, arguments: Arguments) -> RespValue:
    return arguments[0] if arguments else "PONG"


@command("TIME", 0)
def _time(store: Store, arguments: Arguments) -> RespValue:
    seconds, rest_ns = divmod(store.now_ns(), 1_000_000_000)
    return [b"%d" % seconds, b"%d" % (rest_ns // 1000)]


# Keys


@command("DEL", 1)
def _del(store: Store, keys: Arguments) -> RespValue:
    return sum(store.delete(key) for key in keys)


@command("EXISTS", 1)
def _exists(store: Store, keys: Arguments) -> RespValue:
    return sum(store.get(key) is not None for key in keys)


@command("KEYS", 1)
def _keys(store: Store, arguments: Arguments) -> RespValue:
    pattern = arguments[0].decode("latin-1")
    return [key for key in store.live_keys() if fnmatchcase(key.decode("latin-1"), pattern)]


@command("FLUSHDB", 0)
def _flushdb(store: Store, arguments: Arguments) -> RespValue:
    store.clear()
    return "OK"


@command("PEXPIRE", 2)
def _pexpire(store: Store, arguments: Arguments) -> RespValue:
    return int(store.expire(arguments[0], integer(arguments[1])))


@command("EXPIRE", 2)
def _expire(store: Store, arguments: Arguments) -> RespValue:
    return int(store.expire(arguments[0], integer(arguments[1]) * 1000))


@command("PTTL", 1)
def _pttl(store: Store, arguments: Arguments) -> RespValue:
    return store.left_ms(arguments[0])


# Strings


@command("GET", 1)
def _get(store: Store, arguments: Arguments) -> RespValue:
    return store.string(arguments[0])


@command("MGET", 1)
def _mget(store: Store, keys: Arguments) -> RespValue:
    values = [store.get(key) for key in keys]
    return [value if isinstance(value, bytes) else None for value in values]


@command("SET", 2)
def _set(store: Store, arguments: Arguments) -> RespValue:
    """With PX or EX, NX or XX."""
    key, value, *options = arguments
    left_ms: int | None = None
    there: bool | None = None  # what NX and XX ask
    while options:
        option = options.pop(0).upper()
        if option in (b"PX", b"EX") and options:
            left_ms = integer(options.pop(0)) * (1000 if option == b"EX" else 1)
            if left_ms <= 0:
                raise RespError("ERR invalid expire time in 'set' command")
        elif option in (b"NX", b"XX") and there is None:
            there = option == b"XX"
        else:
            raise RespError(SYNTAX)
    if there is not None and there != (store.get(key) is not None):
        return None
    store.set(key, value)
    if left_ms is not None:
        store.expire(key, left_ms)
    return "OK"


def _increment(store: Store, key: bytes, by: int) -> RespValue:
    value = integer(store.string(key) or b"0") + by
    if not INTEGER_MIN <= value <= INTEGER_MAX:
        raise RespError("ERR increment or decrement would overflow")
    store.replace(key, b"%d" % value)
    return value


@command("INCR", 1)
def _incr(store: Store, arguments: Arguments) -> RespValue:
    return _increment(store, arguments[0], 1)


@command("DECR", 1)
def _decr(store: Store, arguments: Arguments) -> RespValue:
    return _increment(store, arguments[0], -1)


@command("INCRBY", 2)
def _incrby(store: Store, arguments: Arguments) -> RespValue:
    return _increment(store, arguments[0], integer(arguments[1]))


# Hashes


@command("HGET", 2)
def _hget(store: Store, arguments: Arguments) -> RespValue:
    return store.hash(arguments[0]).get(arguments[1])


@command("HMGET", 2)
def _hmget(store: Store, arguments: Arguments) -> RespValue:
    found = store.hash(arguments[0])
    return [found.get(field) for field in arguments[1:]]


@command("HGETALL", 1)
def _hgetall(store: Store, arguments: Arguments) -> RespValue:
    return [part for pair in store.hash(arguments[0]).items() for part in pair]


@command("HLEN", 1)
def _hlen(store: Store, arguments: Arguments) -> RespValue:
    return len(store.hash(arguments[0]))


@command("HSET", 3)
def _hset(store: Store, arguments: Arguments) -> RespValue:
    key, *pairs = arguments
    if len(pairs) % 2:
        raise RespError("ERR wrong number of arguments for 'hset' command")
    target = store.hash(key, make=True)
    before = len(target)
    target.update(zip(pairs[::2], pairs[1::2], strict=True))
    return len(target) - before


@command("HSETNX", 3)
def _hsetnx(store: Store, arguments: Arguments) -> RespValue:
    key, field, value = arguments[:3]
    if field in store.hash(key):
        return 0
    store.hash(key, make=True)[field] = value
    return 1


@command("HDEL", 2)
def _hdel(store: Store, arguments: Arguments) -> RespValue:
    found = store.hash(arguments[0])
    removed = sum(found.pop(field, None) is not None for field in arguments[1:])
    store.drop_if_empty(arguments[0])
    return removed


@command("HINCRBY", 3)
def _hincrby(store: Store, arguments: Arguments) -> RespValue:
    key, field, by = arguments[:3]
    increment = integer(by)
    value = integer(store.hash(key).get(field, b"0"), "ERR hash value is not an integer") + increment
    if not INTEGER_MIN <= value <= INTEGER_MAX:
        raise RespError("ERR increment or decrement would overflow")
    store.hash(key, make=True)[field] = b"%d" % value
    return value


# Sorted sets


@command("ZADD", 3)
def _zadd(store: Store, arguments: Arguments) -> RespValue:
    """With XX, NX and CH."""
    key, rest, options = arguments[0], arguments[1:], set()
    while rest and rest[0].upper() in (b"XX", b"NX", b"CH"):
        options.add(rest.pop(0).upper())
    if not rest or len(rest) % 2 or {b"XX", b"NX"} <= options:
        raise RespError(SYNTAX)
    entries = [(number(score), member) for score, member in zip(rest[::2], rest[1::2], strict=True)]
    found = store.sorted_set(key)
    added = changed = 0
    for score, member in entries:
        old = found.scores.get(member)
        if (b"XX" if old is None else b"NX") in options:
            continue
        found = store.sorted_set(key, make=True)
        added += found.add(member, score)
        changed += old is None or old != score
    return changed if b"CH" in options else added


@command("ZREM", 2)
def _zrem(store: Store, arguments: Arguments) -> RespValue:
    found = store.sorted_set(arguments[0])
    removed = sum(found.remove(member) for member in arguments[1:])
    store.drop_if_empty(arguments[0])
    return removed


@command("ZCARD", 1)
def _zcard(store: Store, arguments: Arguments) -> RespValue:
    return len(store.sorted_set(arguments[0]))


@command("ZSCORE", 2)
def _zscore(store: Store, arguments: Arguments) -> RespValue:
    score = store.sorted_set(arguments[0]).scores.get(arguments[1])
    return None if score is None else number_text(score)


@command("ZRANGE", 3)
def _zrange(store: Store, arguments: Arguments) -> RespValue:
    """By rank; with WITHSCORES."""
    entries = store.sorted_set(arguments[0]).ranks(integer(arguments[1]), integer(arguments[2]))
    return _entries(entries, arguments[3:])


@command("ZRANGEBYSCORE", 3)
def _zrangebyscore(store: Store, arguments: Arguments) -> RespValue:
    """With LIMIT offset count and WITHSCORES."""
    key, low, high, *options = arguments
    offset, count = 0, -1
    at = next((at for at, option in enumerate(options) if option.upper() == b"LIMIT"), None)
    if at is not None:
        if len(options) < at + 3:
            raise RespError(SYNTAX)
        offset, count = integer(options[at + 1]), integer(options[at + 2])
        del options[at : at + 3]
    (low_score, low_open), (high_score, high_open) = _bound(low), _bound(high)
    entries = store.sorted_set(key).between(low_score, high_score, low_open, high_open)
    if offset < 0:
        return []
    return _entries(entries[offset:] if count < 0 else entries[offset : offset + count], options)


def _bound(text: bytes) -> tuple[float, bool]:
    is_open = text[:1] == b"("
    return number(text[1:] if is_open else text, "ERR min or max is not a float"), is_open


def _entries(entries: list[tuple[float, bytes]], options: Arguments) -> RespValue:
    if not options:
        return [member for _, member in entries]
    if [option.upper() for option in options] != [b"WITHSCORES"]:
        raise RespError(SYNTAX)
    return [part for score, member in entries for part in (member, number_text(score))]
