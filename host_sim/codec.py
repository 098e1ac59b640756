"""The two serialisations that cross the ABI: header pairs and RESP2. Used by the host core and by the native guest."""

from collections.abc import Sequence
from struct import Struct
from typing import TypeAlias

Pair: TypeAlias = tuple[bytes, bytes]
RespValue: TypeAlias = "bytes | int | str | RespError | list[RespValue] | None"

PAIRS_COUNT_MAX = 1024  # Envoy reads no more pairs than this
PAIRS_SIZE_MAX = 1024 * 1024  # and no more bytes
RESP_DEPTH_MAX = 32
_RESP3_TYPES = b"_#,(!=%~>|"

_U32 = Struct("<I")
_U32_PAIR = Struct("<II")


class RespError(Exception):
    """An error reply of Redis, as a value."""


def encode_pairs(pairs: Sequence[Pair]) -> bytes:
    """u32le count; count x (u32le key length, u32le value length); then for each: key NUL value NUL."""
    head = [_U32.pack(len(pairs))]
    body: list[bytes] = []
    for key, value in pairs:
        head.append(_U32_PAIR.pack(len(key), len(value)))
        body += (key, b"\0", value, b"\0")
    return b"".join(head + body)


def decode_pairs(data: bytes) -> list[Pair]:
    """The inverse of `encode_pairs`; b"" is no pairs. Strict as Envoy's parser: ValueError for anything odd."""
    if not data:
        return []
    if len(data) > PAIRS_SIZE_MAX:
        raise ValueError(f"pairs of {len(data)} bytes; at most {PAIRS_SIZE_MAX} are taken")
    if len(data) < 4:
        raise ValueError(f"pairs need 4 bytes for their count, there are {len(data)}")
    (count,) = _U32.unpack_from(data)
    if count > PAIRS_COUNT_MAX:
        raise ValueError(f"{count} pairs; at most {PAIRS_COUNT_MAX} are taken")
    at = 4 + 8 * count
    if at > len(data):
        raise ValueError(f"{count} pairs need {at} bytes for their lengths, there are {len(data)}")
    pairs: list[Pair] = []
    for key_size, value_size in _U32_PAIR.iter_unpack(data[4:at]):
        key_end = at + key_size
        end = key_end + 1 + value_size
        if end >= len(data) or data[key_end] or data[end]:
            raise ValueError(f"pair {len(pairs)} is not terminated by NUL within the {len(data)} bytes")
        pairs.append((data[at:key_end], data[key_end + 1 : end]))
        at = end + 1
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes after the last pair")
    return pairs


def encode_command(arguments: Sequence[str | bytes | int]) -> bytes:
    """A Redis command: a RESP array of bulk strings."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        raw = argument if isinstance(argument, bytes) else str(argument).encode("utf-8", "surrogateescape")
        parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(parts)


def encode_reply(value: RespValue) -> bytes:
    """A reply as Redis would write it: int, bytes (bulk), str (simple string), None (null bulk), RespError, list."""
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, str):
        return b"+%b\r\n" % value.encode()
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    if isinstance(value, RespError):
        return b"-%b\r\n" % str(value).encode()
    if isinstance(value, list):
        return b"*%d\r\n%b" % (len(value), b"".join(map(encode_reply, value)))
    return b":%d\r\n" % value


def decode_reply(data: bytes) -> RespValue:
    """One whole RESP2 reply; ValueError for a malformed, truncated or longer one."""
    parsed = _parse(data, 0, 0)
    if parsed is None:
        raise ValueError(f"the reply of {len(data)} bytes is truncated")
    value, end = parsed
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes after the reply")
    return value


def next_item(data: bytes | bytearray, start: int = 0) -> tuple[RespValue, int] | None:
    """(value, end) of the reply or command that begins at `start`; None and ValueError as `reply_end`."""
    return _parse(data, start, 0)


def reply_end(data: bytes | bytearray, start: int = 0) -> int | None:
    """Where the reply that begins at `start` ends; None when more bytes are needed; ValueError when it is not RESP2."""
    parsed = _parse(data, start, 0)
    return None if parsed is None else parsed[1]


def _parse(data: bytes | bytearray, at: int, depth: int) -> tuple[RespValue, int] | None:
    """(value, end) of the item at `at`; None when it is not complete."""
    if depth > RESP_DEPTH_MAX:
        raise ValueError(f"a reply nested more than {RESP_DEPTH_MAX} deep")
    if at >= len(data):
        return None
    kind = data[at : at + 1]
    if kind not in (b"+", b"-", b":", b"$", b"*"):
        hint = ", a type of RESP3; only RESP2 is understood" if kind in _RESP3_TYPES else ""
        raise ValueError(f"byte {at} of the reply is {bytes(kind)!r}{hint or ', no RESP type'}")
    line_end = data.find(b"\r\n", at)
    if line_end < 0:
        return None
    line, end = bytes(data[at + 1 : line_end]), line_end + 2
    if kind == b"+":
        return line, end
    if kind == b"-":
        return RespError(line.decode("utf-8", "replace")), end
    number = _number(line)
    if kind == b":":
        return number, end
    if number == -1:
        return None, end
    if number < 0:
        raise ValueError(f"a negative length {number} in the reply")
    if kind == b"$":
        stop = end + number
        if len(data) < stop + 2:
            return None
        if data[stop : stop + 2] != b"\r\n":
            raise ValueError(f"the bulk string at byte {at} does not end after its {number} bytes")
        return bytes(data[end:stop]), stop + 2
    items: list[RespValue] = []
    for _ in range(number):
        parsed = _parse(data, end, depth + 1)
        if parsed is None:
            return None
        items.append(parsed[0])
        end = parsed[1]
    return items, end


def _number(line: bytes) -> int:
    if line.isdigit():
        return int(line)
    digits = line[1:] if line[:1] in (b"-", b"+") else line
    if not digits.isdigit():
        raise ValueError(f"{line[:32]!r} in the reply is not a number")
    return int(line)
