"""Checks of the codecs of `_proxywasm`, run inside the guest while componentize-py imports this module.

A failing check fails the build of the component, with its traceback. The number of checks made is left in the snapshot,
so that the test outside sees that they ran.
"""

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import _proxywasm as p  # type: ignore[import-not-found]
from settings import SEED  # type: ignore[import-not-found]

CRLF = b"\r\n"
DEPTH_MAX = 32
PAIRS_MAX = 1024
PAIRS_SIZE_MAX = 1 << 20
ROUND_TRIPS = 300

checks_made = 0


def equal(found: object, expected: object, what: object = "") -> None:
    global checks_made
    checks_made += 1
    same = found == expected and type(found) is type(expected)
    assert same, f"{what}: {found!r:.300}, expected {expected!r:.300}"


def raises(error: type[Exception], text: str, function: Callable[..., object], *arguments: object) -> None:
    global checks_made
    checks_made += 1
    try:
        result = function(*arguments)
    except error as caught:
        if text in str(caught):
            return
        raise AssertionError(f"{arguments!r:.200}: {caught!r}, expected {text!r}") from caught
    raise AssertionError(f"{arguments!r:.200}: {result!r:.200}, expected {error.__name__}: {text}")


class ReplyError(Exception):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReplyError) and self.args == other.args

    __hash__ = None  # type: ignore[assignment]


class Dispatcher:
    def reply_error(self, message: str) -> Exception:
        if message == "raise":
            raise RuntimeError("no such error")
        return ReplyError(message)


# Commands


def reference_command(arguments: list[bytes]) -> bytes:
    bulks = (b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments)
    return b"*%d\r\n" % len(arguments) + b"".join(bulks)


class Number(int):
    def __str__(self) -> str:
        return "never asked for"


def check_commands() -> None:
    equal(p.encode_command(["PING"]), b"*1\r\n$4\r\nPING\r\n")
    equal(p.encode_command(("SET", b"k\x00\r\n", 12)), b"*3\r\n$3\r\nSET\r\n$4\r\nk\x00\r\n\r\n$2\r\n12\r\n")
    equal(p.encode_command(["é", "\udcff\udc80", ""]), reference_command(["é".encode(), b"\xff\x80", b""]))
    for number in (0, 9, 10, -1, -10, 2**31, 2**63 - 1, -(2**63), 2**63, -(2**200), True, Number(7)):
        equal(p.encode_command([number]), reference_command([b"%d" % number]), number)
    for size in (0, 1, 900, 1000, 1023, 1024, 1025, 5_000_000):
        equal(p.encode_command(["x" * size, b"y" * size]), reference_command([b"x" * size, b"y" * size]), size)
    equal(p.encode_command([b"z"] * 10_000), reference_command([b"z"] * 10_000))
    raises(ValueError, "needs at least its name", p.encode_command, [])
    raises(TypeError, "sequence", p.encode_command, "PING")
    raises(TypeError, "sequence", p.encode_command, b"PING")
    raises(TypeError, "sequence", p.encode_command, None)
    not_arguments: tuple[object, ...] = (1.5, None, [], bytearray(b"x"))
    for wrong in not_arguments:
        raises(TypeError, "expected str, bytes or int, not " + type(wrong).__name__, p.encode_command, ["GET", wrong])
    raises(UnicodeEncodeError, "surrogates", p.encode_command, ["\ud800"])
    raises(TypeError, "expected 1 arguments, not 2", p.encode_command, [], [])


# Replies


def reference_reply(value: Any) -> bytes:
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, ReplyError):
        text: str = value.args[0]
        return b"-" + text.encode("utf-8", "surrogateescape") + CRLF
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    return b"*%d\r\n" % len(value) + b"".join(map(reference_reply, value))


GOOD_REPLIES: list[tuple[bytes, Any]] = [
    (b"+OK\r\n", b"OK"),
    (b"+\r\n", b""),
    (b"-ERR no \xff\r\n", ReplyError("ERR no \udcff")),
    (b"-\r\n", ReplyError("")),
    (b":0\r\n", 0),
    (b":-1\r\n", -1),
    (b":+7\r\n", 7),
    (b":9223372036854775807\r\n", 2**63 - 1),
    (b":-9223372036854775808\r\n", -(2**63)),
    (b"$0\r\n\r\n", b""),
    (b"$-1\r\n", None),
    (b"$4\r\n\r\n\x00\xff\r\n", b"\r\n\x00\xff"),
    (b"*-1\r\n", None),
    (b"*0\r\n", []),
    (b"*2\r\n*1\r\n:1\r\n$-1\r\n", [[1], None]),
    (b"*2\r\n-ERR a\r\n+b\r\n", [ReplyError("ERR a"), b"b"]),
]

BAD_REPLIES: list[tuple[bytes, str]] = [
    (b"", "byte 0: truncated"),
    (b"\r\n", "byte 0: not a RESP type"),
    (b"OK\r\n", "byte 0: not a RESP type"),
    (b"\x00", "byte 0: not a RESP type"),
    (b"+OK", "truncated"),
    (b"+OK\r", "truncated"),
    (b"+O\rK\r\n", "line feed"),
    (b"+OK\r\n+", "byte 5: bytes after the value"),
    (b"*1\r\n:1\r\n\r\n", "bytes after the value"),
    (b":\r\n", "decimal integer"),
    (b":-\r\n", "decimal integer"),
    (b":+-1\r\n", "decimal integer"),
    (b":1x\r\n", "decimal integer"),
    (b": 1\r\n", "decimal integer"),
    (b":1\n\r", "decimal integer"),
    (b":9223372036854775808\r\n", "decimal integer"),
    (b":-9223372036854775809\r\n", "decimal integer"),
    (b":99999999999999999999\r\n", "decimal integer"),
    (b":1", "truncated"),
    (b":1\r", "truncated"),
    (b"$\r\n", "decimal integer"),
    (b"$-2\r\n", "negative size"),
    (b"*-2\r\n", "negative size"),
    (b"$1\r\na", "truncated bulk"),
    (b"$1\r\na\r", "truncated bulk"),
    (b"$1\r\nab\r\n", "line end"),
    (b"$2\r\na\r\n", "truncated bulk"),
    (b"$9223372036854775807\r\na\r\n", "truncated bulk"),
    (b"$4294967295\r\na\r\n", "truncated bulk"),
    (b"*2\r\n:1\r\n", "truncated"),
    (b"*1\r\n", "truncated array"),
    (b"*1000000000\r\n", "truncated array"),
    (b"*4294967297\r\n:1\r\n", "truncated array"),
    (b"*9223372036854775807\r\n:1\r\n", "truncated array"),
    (b"*1\r\n" * (DEPTH_MAX + 1) + b":1\r\n", "nested too deeply"),
    (b"*1\r\n" * 1_000_000, "nested too deeply"),
    *((bytes([kind]) + b"1\r\n", "only RESP2") for kind in b"_#,(!=%~>|"),
]


def check_replies() -> None:
    for data, expected in GOOD_REPLIES:
        equal(p.decode_reply(data), expected, data)
        for end in range(len(data)):
            raises(ValueError, "Redis reply, byte ", p.decode_reply, data[:end])
    deepest: Any = 1
    for _ in range(DEPTH_MAX):
        deepest = [deepest]
    equal(p.decode_reply(reference_reply(deepest)), deepest)
    for data, text in BAD_REPLIES:
        raises(ValueError, text, p.decode_reply, data)
        raises(ValueError, "Redis reply, byte ", p.decode_reply, b"*2\r\n:1\r\n" + data)
    raises(RuntimeError, "no such error", p.decode_reply, b"*2\r\n:1\r\n-raise\r\n")
    raises(TypeError, "expected bytes", p.decode_reply, "+OK\r\n")
    raises(TypeError, "expected bytes", p.decode_reply, bytearray(b"+OK\r\n"))
    # Announced sizes cost no memory that the data does not pay for.
    nested = b"".join(b"*%d\r\n" % ((3_000_000 - 12 * level) // 3 - 8) for level in range(DEPTH_MAX))
    raises(ValueError, "truncated array", p.decode_reply, nested.ljust(3_000_000, b":"))
    equal(p.decode_reply(reference_reply([b"x" * 32_000_000])), [b"x" * 32_000_000])
    equal(p.decode_reply(b"*1000000\r\n" + b":7\r\n" * 1_000_000), [7] * 1_000_000)


# Pairs


def reference_pairs(pairs: list[tuple[bytes, bytes]]) -> bytes:
    sizes = b"".join(len(key).to_bytes(4, "little") + len(value).to_bytes(4, "little") for key, value in pairs)
    return len(pairs).to_bytes(4, "little") + sizes + b"".join(k + b"\x00" + v + b"\x00" for k, v in pairs)


def check_pairs() -> None:
    golden = b"\x02\0\0\0\x01\0\0\0\x02\0\0\0\x02\0\0\0\0\0\0\0a\0bc\0\xc3\xa9\0\0"
    equal(p.encode_pairs([("a", "bc"), ("é", "")]), golden)
    equal(p.encode_pairs(((b"a", b"bc"), ["é", b""])), golden)
    equal(p.decode_pairs(golden), [("a", "bc"), ("é", "")])
    equal(p.encode_pairs([]), bytes(4))
    equal(p.decode_pairs(bytes(4)), [])
    equal(p.decode_pairs(b""), [])
    equal(p.decode_pairs(p.encode_pairs([("\udcff", "a\x00b")])), [("\udcff", "a\x00b")])
    for end in range(1, len(golden)):
        raises(ValueError, "serialised pairs: ", p.decode_pairs, golden[:end])
    raises(ValueError, "bytes after the last pair", p.decode_pairs, golden + b"\x00")
    raises(ValueError, "does not end in NUL", p.decode_pairs, golden[:-1] + b"x")
    raises(ValueError, "does not end in NUL", p.decode_pairs, golden.replace(b"a\0", b"ax"))
    raises(ValueError, "truncated", p.decode_pairs, b"\xff" * 4)
    raises(ValueError, "truncated", p.decode_pairs, b"\xff" * 40)
    raises(ValueError, "truncated", p.decode_pairs, b"\x01\0\0\0" + b"\xff" * 8 + bytes(64))
    raises(TypeError, "expected bytes", p.decode_pairs, "text")

    most = [(b"k%d" % i, b"v" * 100) for i in range(PAIRS_MAX)]
    equal(p.encode_pairs(most), reference_pairs(most))
    raises(ValueError, "hosts take at most 1024", p.encode_pairs, [*most, (b"k", b"v")])
    largest = [(b"k", b"v" * (PAIRS_SIZE_MAX - 4 - 8 - 3))]
    equal(p.encode_pairs(largest), reference_pairs(largest))
    raises(ValueError, "hosts take at most 1048576", p.encode_pairs, [(b"kk", largest[0][1])])
    for no_pair in (("a",), ("a", "b", "c"), ()):
        raises(ValueError, "expected (name, value)", p.encode_pairs, [no_pair])
    for not_pairs in (None, 5, "ab", b"ab", ["ab"], [5]):
        raises(TypeError, "expected", p.encode_pairs, not_pairs)
    raises(TypeError, "expected str or bytes, not int", p.encode_pairs, [("a", 5)])


def check_recent_texts() -> None:
    """Short texts are remembered: those that differ in one byte must not be taken for each other."""
    for size in (*range(41), *reversed(range(41))):
        alike = [b"a" * at + b"\xff" + b"a" * (size - at - 1) for at in range(size)] + [b"a" * size]
        for _ in range(2):
            for text in alike:
                decoded = text.decode("utf-8", "surrogateescape")
                equal(p.decode_pairs(reference_pairs([(text, text[::-1])])), [(decoded, decoded[::-1])])


# Random round trips


def random_bytes(source: random.Random) -> bytes:
    size = source.choice((0, 1, 2, 5, 40, 300, 3000))
    return source.randbytes(source.randint(0, size))


def random_value(source: random.Random, depth: int) -> Any:
    kind = source.randrange(6 if depth else 5)
    if kind == 0:
        return None
    if kind == 1:
        return source.randint(-(2**63), 2**63 - 1) >> source.randrange(64)
    if kind == 2:
        return ReplyError(random_bytes(source).replace(b"\r", b"").decode("utf-8", "surrogateescape"))
    if kind in (3, 4):
        return random_bytes(source)
    return [random_value(source, depth - 1) for _ in range(source.randrange(6))]


def check_random(source: random.Random) -> None:
    for _ in range(ROUND_TRIPS):
        arguments = [random_bytes(source) for _ in range(source.randint(1, 9))]
        texts = [source.choice((a, a.decode("utf-8", "surrogateescape"))) for a in arguments]
        equal(p.encode_command(texts), reference_command(arguments))
        equal(p.decode_reply(p.encode_command(texts)), arguments)
        value = random_value(source, 4)
        data = reference_reply(value)
        equal(p.decode_reply(data), value)
        pairs = [(random_bytes(source), random_bytes(source)) for _ in range(source.randrange(9))]
        encoded = p.encode_pairs(pairs)
        equal(encoded, reference_pairs(pairs))
        decoded = [tuple(text.decode("utf-8", "surrogateescape") for text in pair) for pair in pairs]
        equal(p.decode_pairs(encoded), decoded)
        survive_damage(source, p.decode_reply, data)
        survive_damage(source, p.decode_pairs, encoded)


def survive_damage(source: random.Random, decode: Callable[[bytes], object], data: bytes) -> None:
    """Any other bytes are a value too, or ValueError: nothing else, and no trap."""
    global checks_made
    checks_made += 1
    damaged = bytearray(data)
    for _ in range(source.randint(1, 4)):
        damaged[source.randrange(len(damaged))] = source.choice((source.randrange(256), *b"*$:+-\r\n019"))
    with suppress(ValueError):
        decode(bytes(damaged))


p.set_dispatcher(Dispatcher())
check_commands()
check_replies()
check_pairs()
check_recent_texts()
check_random(random.Random(SEED))
tally = f"codec checks made: {checks_made};"
