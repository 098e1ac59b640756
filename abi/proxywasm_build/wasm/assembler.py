"""A few instructions as bytes, to write small functions by hand. Operands that are numbers come encoded here."""

from .encoding import s32, u32

IF, RETURN, END = b"\x04\x40", b"\x0f", b"\x0b"
SELECT = b"\x1b"
I32_ADD, I32_SUB, I32_EQ = b"\x6a", b"\x6b", b"\x46"
I32_WRAP_I64 = b"\xa7"
I64_DIV_U, I64_REM_U = b"\x80", b"\x82"
DROP = b"\x1a"


def local_get(index: int) -> bytes:
    return b"\x20" + u32(index)


def local_tee(index: int) -> bytes:
    return b"\x22" + u32(index)


def i32_const(value: int) -> bytes:
    return b"\x41" + s32(value)


def i64_const(value: int) -> bytes:
    """Of a number below 2**31."""
    return b"\x42" + s32(value)


def i64_load(offset: int = 0) -> bytes:
    return b"\x29\x03" + u32(offset)


def i32_store(offset: int = 0) -> bytes:
    return b"\x36\x02" + u32(offset)


def i64_store(offset: int = 0) -> bytes:
    return b"\x37\x03" + u32(offset)


def i32_store8(offset: int = 0) -> bytes:
    return b"\x3a\x00" + u32(offset)
