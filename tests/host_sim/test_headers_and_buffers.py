import pytest

from host_sim.buffers import Buffer
from host_sim.errors import HostCallError
from host_sim.headers import HeaderMap


def test_header_names_ignore_case_and_keep_their_order():
    headers = HeaderMap([("X-A", "1"), ("x-b", "2"), ("x-a", "3")])
    assert headers.get(b"X-a") == b"1"
    assert headers.get_all(b"X-A") == [b"1", b"3"]
    assert headers.get(b"x-c") is None
    assert headers.text_pairs() == [("x-a", "1"), ("x-b", "2"), ("x-a", "3")]


def test_replace_leaves_one_value():
    """In its place if it was the only one, else at the end: as Envoy's setCopy."""
    headers = HeaderMap([("x-a", "1"), ("x-b", "2"), ("x-a", "3")])
    headers.replace(b"X-A", b"new")
    headers.replace(b"x-c", b"4")
    assert headers.text_pairs() == [("x-b", "2"), ("x-a", "new"), ("x-c", "4")]
    headers.replace(b"x-b", b"2")
    assert headers.text_pairs() == [("x-b", "2"), ("x-a", "new"), ("x-c", "4")]
    headers.remove(b"X-A")
    headers.add(b"X-B", b"5")
    assert headers.text_pairs() == [("x-b", "2"), ("x-c", "4"), ("x-b", "5")]


def test_bytes_that_are_no_utf8_survive():
    headers = HeaderMap([(b"x", b"\xff\xfe")])
    assert HeaderMap(headers.text_pairs()).pairs() == [(b"x", b"\xff\xfe")]


def test_reading_past_the_end_is_empty():
    buffer = Buffer(b"hello")
    assert buffer.get(1, 3) == b"ell"
    assert buffer.get(4, 100) == b"o"
    assert buffer.get(9, 1) == b""


@pytest.mark.parametrize(
    ("start", "size", "after"),
    [
        (0, 0, b"XYhello"),  # start 0 drains `size` bytes, then prepends
        (0, 2, b"XYllo"),
        (0, 99, b"XY"),
        (5, 0, b"helloXY"),  # start >= len appends
        (99, 7, b"helloXY"),
    ],
)
def test_set(start, size, after):
    buffer = Buffer(b"hello")
    buffer.set(start, size, b"XY")
    assert buffer.take() == after


def test_set_inside_and_on_a_read_only_buffer_is_refused():
    with pytest.raises(HostCallError, match="BAD_ARGUMENT"):
        Buffer(b"hello").set(2, 1, b"X")
    with pytest.raises(HostCallError, match="read-only"):
        Buffer(b"hello", writable=False).set(0, 0, b"X")


def test_append_leaves_the_given_bytes_alone():
    data = b"ab"
    buffer = Buffer(data)
    buffer.append(b"cd")
    buffer.append(b"")
    assert (data, buffer.take(), len(buffer)) == (b"ab", b"abcd", 0)
