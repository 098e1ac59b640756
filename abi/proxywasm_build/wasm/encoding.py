"""LEB128, names and vectors: the alphabet of the binary format."""

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


class Malformed(ValueError):
    """The bytes are not what the binary format says."""


class Reader:
    """A cursor over bytes. Reading past the end raises Malformed."""

    __slots__ = ("data", "end", "pos")

    def __init__(self, data: bytes, pos: int = 0, end: int | None = None) -> None:
        self.data = data
        self.pos = pos
        self.end = len(data) if end is None else end

    def __bool__(self) -> bool:
        return self.pos < self.end

    def byte(self) -> int:
        if self.pos >= self.end:
            raise Malformed(f"unexpected end at byte {self.pos}")
        value = self.data[self.pos]
        self.pos += 1
        return value

    def bytes(self, size: int) -> bytes:
        start = self.pos
        if size > self.end - start:
            raise Malformed(f"{size} bytes wanted at byte {start}, {self.end - start} left")
        self.pos = start + size
        return self.data[start : self.pos]

    def u32(self) -> int:
        """An unsigned LEB128 number."""
        result = shift = 0
        while True:
            byte = self.byte()
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return result
            shift += 7
            if shift > 63:
                raise Malformed(f"LEB128 number too long at byte {self.pos}")

    def s64(self) -> int:
        """A signed LEB128 number (s32, s33 and s64 alike)."""
        result = shift = 0
        while True:
            byte = self.byte()
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return result - (1 << shift) if byte & 0x40 else result
            if shift > 69:
                raise Malformed(f"LEB128 number too long at byte {self.pos}")

    def name(self) -> str:
        return self.bytes(self.u32()).decode()

    def vec(self, item: Callable[[], T]) -> list[T]:
        return [item() for _ in range(self.u32())]

    def sub(self) -> "Reader":
        """A reader over the next size-prefixed block, which this reader skips."""
        size = self.u32()
        start = self.pos
        self.bytes(size)
        return Reader(self.data, start, start + size)


def u32(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def s32(value: int) -> bytes:
    """Signed LEB128 of a number taken modulo 2**32, the shortest form."""
    value = (value + (1 << 31)) % (1 << 32) - (1 << 31)
    out = bytearray()
    while not -64 <= value < 64:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value & 0x7F)
    return bytes(out)


def name(text: str) -> bytes:
    data = text.encode()
    return u32(len(data)) + data


def vec(items: Iterable[bytes]) -> bytes:
    encoded = list(items)
    return u32(len(encoded)) + b"".join(encoded)
