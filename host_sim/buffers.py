"""A body buffer as the guest sees it."""

from proxywasm.enums import Status

from .errors import HostCallError


class Buffer:
    """Bytes that a guest can read, and change unless `writable` is off."""

    __slots__ = ("_data", "writable")

    def __init__(self, data: bytes = b"", writable: bool = True) -> None:
        self._data: bytes | bytearray = data
        self.writable = writable

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return f"Buffer({len(self._data)} bytes)"

    def append(self, data: bytes) -> None:
        if not self._data:
            self._data = data
        elif data:
            if isinstance(self._data, bytes):
                self._data = bytearray(self._data)
            self._data += data

    def take(self) -> bytes:
        """All bytes; the buffer is empty afterwards."""
        data, self._data = bytes(self._data), b""
        return data

    def get(self, start: int, size_max: int) -> bytes:
        """Past the end there is nothing to read, and that is no error."""
        return bytes(self._data[start : start + size_max])

    def set(self, start: int, size: int, data: bytes) -> None:
        """At 0: `size` bytes are dropped, then `data` comes first. At or after the end: it is appended."""
        if not self.writable:
            raise HostCallError(Status.BAD_ARGUMENT, "this buffer is read-only")
        if start == 0:
            self._data = data + self._data[size:]
        elif start >= len(self._data):
            self.append(data)
        else:
            raise HostCallError(Status.BAD_ARGUMENT, f"start {start} is inside the buffer of {len(self._data)} bytes")
