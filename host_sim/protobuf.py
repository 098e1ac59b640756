"""As much of protobuf as the arguments of foreign functions need: reading one message's fields."""

from dataclasses import dataclass
from typing import TypeAlias

Value: TypeAlias = "int | bytes"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BITS_MAX = 64


@dataclass(frozen=True, slots=True)
class Message:
    """Field number to value; of a field that comes twice the last one counts."""

    fields: dict[int, Value]

    def bytes(self, number: int) -> bytes:
        """b"" if the field is absent; ValueError if it has another type."""
        value = self.fields.get(number, b"")
        if not isinstance(value, bytes):
            raise ValueError(f"field {number} is no string")
        return value

    def int(self, number: int) -> int:
        """0 if the field is absent; ValueError if it has another type."""
        value = self.fields.get(number, 0)
        if not isinstance(value, int):
            raise ValueError(f"field {number} is no number")
        return value


def decode_message(data: bytes) -> Message:
    """ValueError for what is no message. Groups are refused."""
    fields: dict[int, Value] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if not number:
            raise ValueError("field number 0")
        if kind == _VARINT:
            fields[number], at = _varint(data, at)
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind}")
        if at + size > len(data):
            raise ValueError(f"field {number} is truncated")
        raw = data[at : at + size]
        fields[number] = raw if kind == _BYTES else int.from_bytes(raw, "little")
        at += size
    return Message(fields)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift >= _VARINT_BITS_MAX:
            raise ValueError("a varint is truncated or too long")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
