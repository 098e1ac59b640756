"""Function bodies: finding the places that name a function, a type or a global, without decoding the rest.

A body is cut into a list that alternates bytes that stay as they are and references that a linker re-encodes. One
compiled regular expression skips everything between two references, which makes this fast enough to do in Python
for the 6 MB of code of CPython.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .encoding import Malformed, Reader

CALL, CALL_INDIRECT, GLOBAL_GET, GLOBAL_SET, GLOBAL_GET_PLUS, REF_FUNC, BLOCK = range(7)

_LEB = rb"[\x80-\xff]*[\x00-\x7f]"
_PLAIN = (
    rb"(?:[\x00\x01\x05\x0b\x0f\x1a\x1b\x45-\xc4\xd1]"  # no immediate
    rb"|[\x0c\x0d\x20-\x22\x41\x42]" + _LEB +  # br, br_if, local.*, i32.const, i64.const
    rb"|[\x28-\x3e]" + _LEB + _LEB +  # loads and stores: alignment, offset
    rb"|[\x02-\x04][\x40\x7c-\x7f]"  # block, loop, if with at most one result
    rb"|\x43.{4}|\x44.{8}"  # f32.const, f64.const
    rb"|[\x3f\x40]\x00"  # memory.size, memory.grow
    rb"|\xfc(?:[\x00-\x07]|\x0a\x00\x00|\x0b\x00)"  # saturating truncation, memory.copy, memory.fill
    rb")*+"
)  # fmt: skip
# In each named group the first inner group is the index, so that `lastgroup` is the name.
_REFERENCE = re.compile(
    _PLAIN + rb"(?:(?P<call>\x10(" + _LEB + rb"))"
    rb"|(?P<get>\x23(" + _LEB + rb")(?:\x41(" + _LEB + rb")\x6a)?)"  # global.get [i32.const i32.add]
    rb"|(?P<set>\x24(" + _LEB + rb"))"
    rb"|(?P<indirect>\x11(" + _LEB + rb")\x80*\x00)"  # always table 0
    rb"|(?P<ref>\xd2(" + _LEB + rb"))"
    rb"|(?P<block>[\x02-\x04](" + _LEB + rb"))"
    rb"|(?P<table>\x0e)"
    rb"|\Z)",
    re.DOTALL,
)  # fmt: skip


class Reference(NamedTuple):
    """An instruction that names something by index. `extra`: the addend of GLOBAL_GET_PLUS, the opcode of BLOCK."""

    kind: int
    operand: int
    extra: int = 0


@dataclass(slots=True)
class Body:
    """`locals` are the declarations, undecoded; `pieces` alternates bytes and references, bytes first and last."""

    locals: bytes
    pieces: list[bytes | Reference]

    def references(self) -> Iterator[Reference]:
        return (piece for piece in self.pieces[1::2] if isinstance(piece, Reference))


def scan(data: bytes) -> Body:
    """Cuts a function body. Raises Malformed for instructions that it does not know (SIMD, exceptions, threads ...)."""
    reader = Reader(data)
    reader.vec(lambda: (reader.u32(), reader.byte()))
    code_start = position = kept_from = reader.pos
    pieces: list[bytes | Reference] = []
    while True:
        match = _REFERENCE.match(data, position)
        if match is None:
            raise Malformed(f"unknown instruction after byte {position} of a body of {len(data)}")
        position = match.end()
        group = match.lastgroup
        if group is None:
            pieces.append(data[kept_from:])
            return Body(data[:code_start], pieces)
        if group == "table":  # br_table: a count, which a regular expression cannot follow
            reader.pos = position
            for _ in range(reader.u32() + 1):
                reader.u32()
            position = reader.pos
            continue
        pieces.append(data[kept_from : match.start(group)])
        pieces.append(_reference(group, match))
        kept_from = position


def _reference(group: str, match: "re.Match[bytes]") -> Reference:
    first = match.re.groupindex[group] + 1
    if group == "block":
        return Reference(BLOCK, _signed(match[first]), match[group][0])
    index = _unsigned(match[first])
    if group != "get":
        return Reference(_KINDS[group], index)
    if match[first + 1] is None:
        return Reference(GLOBAL_GET, index)
    return Reference(GLOBAL_GET_PLUS, index, _signed(match[first + 1]))


_KINDS = {"call": CALL, "set": GLOBAL_SET, "indirect": CALL_INDIRECT, "ref": REF_FUNC}


def _unsigned(leb: bytes) -> int:
    return leb[0] if len(leb) == 1 else Reader(leb).u32()


def _signed(leb: bytes) -> int:
    return Reader(leb).s64()


# What an instruction needs beyond the MVP, by the name of the proposal.
_FEATURES = {
    "sign_ext": rb"[\xc0-\xc4]",
    "nontrapping_fptoint": rb"\xfc[\x00-\x07]",
    "bulk_memory": rb"\xfc(?:\x0a\x00\x00|\x0b\x00)",
    "reference_types": rb"\xd1|\xd2" + _LEB,
    "multi_value": rb"[\x02-\x04][\x00-\x3f]|[\x02-\x04][\x80-\xff]+[\x00-\x7f]",
}
_MVP = (
    rb"[\x00\x01\x05\x0b\x0f\x1a\x1b\x45-\xbf]|[\x0c\x0d\x10\x20-\x24\x41\x42]" + _LEB +
    rb"|[\x28-\x3e]" + _LEB + _LEB + rb"|[\x02-\x04][\x40\x7c-\x7f]|\x43.{4}|\x44.{8}|[\x3f\x40]\x00"
    rb"|\x11" + _LEB + rb"\x80*\x00"
)  # fmt: skip


def features(bodies: Iterable[bytes]) -> set[str]:
    """The names of the proposals beyond the MVP that the code uses. Raises Malformed for what is not known here."""
    found: set[str] = set()
    pattern = _feature_pattern(found)
    for data in bodies:
        reader = Reader(data)
        reader.vec(lambda r=reader: (r.u32(), r.byte()))  # type: ignore[misc]
        while reader:
            match = pattern.match(data, reader.pos)
            if match is None:
                raise Malformed(f"unknown instruction after byte {reader.pos} of a body of {len(data)}")
            reader.pos = match.end()
            if match.lastgroup == "table":
                reader.vec(reader.u32)
                reader.u32()
            elif match.lastgroup:
                found.add(match.lastgroup)
                pattern = _feature_pattern(found)
    return found


def _feature_pattern(found: set[str]) -> "re.Pattern[bytes]":
    """Skips the MVP and what was found already; stops at the first use of another feature, or at a br_table."""
    skipped = b"|".join([_MVP, *(_FEATURES[name] for name in sorted(found))])
    stops = b"|".join(b"(?P<%s>%s)" % (name.encode(), _FEATURES[name]) for name in sorted(set(_FEATURES) - found))
    return re.compile(rb"(?:" + skipped + rb")*+(?:" + stops + rb"|(?P<table>\x0e)|\Z)", re.DOTALL)
