"""Writing the sections of a core module."""

import re
from collections.abc import Iterable, Sequence

from .encoding import name, s32, u32, vec
from .module import (
    CODE,
    CUSTOM,
    DATA,
    ELEMENT,
    EXPORT,
    FUNC_KIND,
    FUNCTION,
    GLOBAL,
    I32,
    IMPORT,
    MAGIC,
    MEMORY,
    TABLE,
    TYPE,
    FuncType,
)

# What lies between gaps of 16 zeroes or more: a shorter gap is cheaper as data than as the head of another segment.
_RUN = re.compile(rb"[^\0]+(?:\0{1,15}[^\0]+)*+")


def section(number: int, content: bytes) -> bytes:
    return bytes([number]) + u32(len(content)) + content


def types(entries: Sequence[FuncType]) -> bytes:
    return section(
        TYPE, vec(b"\x60" + u32(len(t.params)) + t.params + u32(len(t.results)) + t.results for t in entries)
    )


def imported_functions(entries: Iterable[tuple[str, str, int]]) -> bytes:
    """Of (module, name, type index)."""
    return section(IMPORT, vec(name(m) + name(n) + bytes([FUNC_KIND]) + u32(t) for m, n, t in entries))


def functions(type_indices: Iterable[int]) -> bytes:
    return section(FUNCTION, vec(map(u32, type_indices)))


def table(size: int) -> bytes:
    return section(TABLE, vec([b"\x70\x01" + u32(size) + u32(size)]))


def memory(pages: int) -> bytes:
    return section(MEMORY, vec([b"\x00" + u32(pages)]))


def mutable_i32_globals(values: Iterable[int]) -> bytes:
    return section(GLOBAL, vec(bytes([I32, 1]) + b"\x41" + s32(value) + b"\x0b" for value in values))


def exports(entries: Iterable[tuple[str, int, int]]) -> bytes:
    """Of (name, kind, index)."""
    return section(EXPORT, vec(name(n) + bytes([kind]) + u32(index) for n, kind, index in entries))


def elements(slots: Sequence[int | None]) -> bytes:
    """The table's contents from slot 0 on, as one active segment per run of filled slots."""
    segments: list[bytes] = []
    start = 0
    while start < len(slots):
        if slots[start] is None:
            start += 1
            continue
        end = start
        while end < len(slots) and slots[end] is not None:
            end += 1
        run = [index for index in slots[start:end] if index is not None]
        segments.append(b"\x00\x41" + s32(start) + b"\x0b" + vec(map(u32, run)))
        start = end
    return section(ELEMENT, vec(segments))


def code(bodies: Iterable[bytes]) -> bytes:
    return section(CODE, vec(u32(len(body)) + body for body in bodies))


def data(image: bytes) -> bytes:
    """A memory image from address 0 on, as active segments between the gaps of zeroes."""
    return section(
        DATA,
        vec(b"\x00\x41" + s32(run.start()) + b"\x0b" + u32(len(run[0])) + run[0] for run in _RUN.finditer(image)),
    )


def custom(section_name: str, content: bytes) -> bytes:
    return section(CUSTOM, name(section_name) + content)


def function_names(names: Iterable[tuple[int, str]]) -> bytes:
    """The name section; of (function index, name) in order."""
    subsection = vec(u32(index) + name(text) for index, text in names)
    return custom("name", b"\x01" + u32(len(subsection)) + subsection)


def module(sections: Iterable[bytes]) -> bytes:
    return MAGIC + b"".join(sections)
