"""A wasm guest's linear memory, read and written in place."""

from collections.abc import Callable

from .wasi import MemoryFault


class GuestMemory:
    """wasi.Memory over the exported memory."""

    def __init__(self) -> None:
        self.view = memoryview(b"")
        self._renew: Callable[[], memoryview] | None = None

    def attach(self, renew: Callable[[], memoryview]) -> None:
        self._renew = renew
        self.view = renew()

    def detach(self) -> None:
        self._renew = None
        self.view = memoryview(b"")

    def check(self, end: int) -> None:
        """The memory may have grown; if not enough, MemoryFault."""
        if self._renew is not None:
            self.view = self._renew()
        if end > len(self.view):
            raise MemoryFault(f"address {end} is beyond the memory of {len(self.view)} bytes")

    def read(self, address: int, size: int) -> bytes:
        end = address + size
        if end > len(self.view):
            self.check(end)
        return self.view[address:end].tobytes()

    def write(self, address: int, data: bytes) -> None:
        end = address + len(data)
        if end > len(self.view):
            self.check(end)
        self.view[address:end] = data
