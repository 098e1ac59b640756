import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_sim.codec import (
    PAIRS_COUNT_MAX,
    RESP_DEPTH_MAX,
    RespError,
    decode_pairs,
    decode_reply,
    encode_command,
    encode_pairs,
    encode_reply,
    reply_end,
)

GOLDEN_PAIRS = b"\x02\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\0\0\0\0a\0bc\0key\0\0"


def test_pairs_golden_bytes():
    pairs = [(b"a", b"bc"), (b"key", b"")]
    assert encode_pairs(pairs) == GOLDEN_PAIRS
    assert decode_pairs(GOLDEN_PAIRS) == pairs
    assert decode_pairs(b"") == []
    assert decode_pairs(b"\0\0\0\0") == []


@given(st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=40)), max_size=20))
def test_pairs_round_trip(pairs):
    assert decode_pairs(encode_pairs(pairs)) == pairs


@pytest.mark.parametrize("cut", range(1, len(GOLDEN_PAIRS)))
def test_truncated_pairs_are_refused(cut):
    with pytest.raises(ValueError, match=r"pair|bytes"):
        decode_pairs(GOLDEN_PAIRS[:cut])


def test_odd_pairs_are_refused():
    with pytest.raises(ValueError, match="after the last pair"):
        decode_pairs(GOLDEN_PAIRS + b"x")
    with pytest.raises(ValueError, match="not terminated"):
        decode_pairs(GOLDEN_PAIRS.replace(b"bc\0", b"bcx"))
    with pytest.raises(ValueError, match=f"at most {PAIRS_COUNT_MAX}"):
        decode_pairs(encode_pairs([(b"k", b"v")] * (PAIRS_COUNT_MAX + 1)))


def test_command_golden_bytes():
    assert encode_command(["SET", b"k\xff", 12]) == b"*3\r\n$3\r\nSET\r\n$2\r\nk\xff\r\n$2\r\n12\r\n"


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (b"ab", b"$2\r\nab\r\n"),
        (b"", b"$0\r\n\r\n"),
        (None, b"$-1\r\n"),
        (-7, b":-7\r\n"),
        ([b"a", [1, None]], b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n"),
        ([], b"*0\r\n"),
    ],
)
def test_replies(value, data):
    assert encode_reply(value) == data
    assert decode_reply(data) == value
    assert [reply_end(data[:cut]) for cut in range(len(data))] == [None] * len(data)
    assert reply_end(data + b"+next\r\n") == len(data)


def test_simple_strings_null_arrays_and_errors():
    assert decode_reply(b"+OK\r\n") == b"OK"
    assert decode_reply(b"*-1\r\n") is None
    error = decode_reply(b"-ERR no\r\n")
    assert isinstance(error, RespError)
    assert str(error) == "ERR no"
    assert encode_reply(error) == b"-ERR no\r\n"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"hello\r\n", "no RESP type"),
        (b"_\r\n", "RESP3"),
        (b":1x\r\n", "not a number"),
        (b"$-2\r\n", "negative length"),
        (b"$1\r\nabc\r\n", "does not end"),
        (b"+a\r\n+b\r\n", "after the reply"),
        (b"$5\r\nab", "truncated"),
        (b"*1\r\n" * (RESP_DEPTH_MAX + 2), "nested"),
        (b"*1000000000\r\n", "truncated"),
    ],
)
def test_what_is_not_a_reply_is_refused(data, reason):
    with pytest.raises(ValueError, match=reason):
        decode_reply(data)
