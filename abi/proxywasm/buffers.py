"""Buffers: bodies, connection data, callout replies, configurations."""

from collections.abc import Callable
from functools import partial

from ._host import Text, host
from .enums import BufferType

WHOLE_BUFFER_BYTES = 0x7FFFFFFF  # the largest size that is positive as an i32; the host clips it to what is there


class Buffer:
    """One buffer of whatever context is current.

    `read(start, max_size)` and `status()` -> (size, flags) are the host calls themselves; `get` has defaults.
    """

    __slots__ = ("_number", "read", "replace", "status")

    read: Callable[[int, int], bytes | None]
    replace: Callable[[int, int, Text], None]
    status: Callable[[], tuple[int, int]]

    def __init__(self, buffer_type: BufferType) -> None:
        self._number = int(buffer_type)
        self.read = partial(host.get_buffer_bytes, self._number)
        self.replace = partial(host.set_buffer_bytes, self._number)
        self.status = partial(host.get_buffer_status, self._number)

    def get(self, start: int = 0, max_size: int = WHOLE_BUFFER_BYTES) -> bytes | None:
        """At most `max_size` bytes from `start`; None if there is no such buffer now."""
        return self.read(start, max_size)

    def set(self, data: Text) -> None:
        """Replaces the whole content."""
        self.replace(0, WHOLE_BUFFER_BYTES, data)

    def append(self, data: Text) -> None:
        self.replace(WHOLE_BUFFER_BYTES, 0, data)

    def prepend(self, data: Text) -> None:
        self.replace(0, 0, data)


request_body = Buffer(BufferType.HTTP_REQUEST_BODY)
response_body = Buffer(BufferType.HTTP_RESPONSE_BODY)
downstream_data = Buffer(BufferType.DOWNSTREAM_DATA)
upstream_data = Buffer(BufferType.UPSTREAM_DATA)
foreign_function_arguments = Buffer(BufferType.FOREIGN_FUNCTION_ARGUMENTS)
