import pytest
from hypothesis import given
from hypothesis import strategies as st
from proxywasm_build.wasm.encoding import Malformed, Reader, name, s32, u32, vec


@given(st.integers(0, 2**32 - 1))
def test_unsigned_numbers_come_back(value: int):
    assert Reader(u32(value)).u32() == value


@given(st.integers(-(2**31), 2**31 - 1))
def test_signed_numbers_come_back(value: int):
    assert Reader(s32(value)).s64() == value


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "00"), (63, "3f"), (64, "c000"), (-1, "7f"), (-64, "40"), (-65, "bf7f"), (2**31, "8080808078")],
)
def test_signed_numbers_are_in_the_shortest_form(value: int, encoded: str):
    assert s32(value).hex() == encoded


def test_padded_numbers_are_read():
    assert Reader(bytes.fromhex("8080808000")).u32() == 0


def test_names_and_vectors():
    assert vec([name("a"), name("ü")]) == b"\x02\x01a\x02\xc3\xbc"
    reader = Reader(vec([name("a"), name("ü")]))
    assert reader.vec(reader.name) == ["a", "ü"]
    assert not reader


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 12])
def test_numbers_that_do_not_end(data: bytes):
    with pytest.raises(Malformed):
        Reader(data).u32()


def test_reading_past_the_end():
    with pytest.raises(Malformed, match="5 bytes wanted at byte 1, 2 left"):
        Reader(b"\x05ab").name()
