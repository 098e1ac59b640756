"""Host calls as a wasm module imports them: from numbers in registers to Python values, and back."""

from collections.abc import Callable
from struct import Struct
from typing import Any

from .codec import decode_pairs, encode_pairs
from .errors import HostCallError
from .guest import HostCalls
from .guest_memory import GuestMemory
from .wasi import MemoryFault

INVALID_MEMORY_ACCESS = 6
_U32 = Struct("<I")
_U64 = Struct("<Q")
_MASK = 0xFFFF_FFFF


def no_memory(size: int) -> None:
    """The allocator of a module that is not there."""


class HostFunctions:
    """`allocate` is the guest's allocator; it is set when the module has been instantiated."""

    def __init__(self, memory: GuestMemory, host: HostCalls) -> None:
        self._memory = memory
        self._host_call = host.host_call
        self.allocate: Callable[[int], int | None] = no_memory

    def function(self, name: str, signature: str) -> Callable[..., int]:
        """What a module imports as `name`; `signature` is that of abi.py."""
        inputs, _, outputs = signature.partition(":")
        memory = self._memory
        host_call = self._host_call

        def run(*arguments: int) -> int:
            values: list[Any] = []
            at = 0
            try:
                for kind in inputs:
                    value = arguments[at]
                    at += 1
                    if kind == "s" or kind == "p":
                        data = memory.read(value & _MASK, arguments[at] & _MASK)
                        at += 1
                        values.append(data if kind == "s" else _pairs(data))
                    else:
                        values.append(value & _MASK if kind == "i" else _signed(value) if kind == "j" else value)
                result = host_call(name, *values)
                if outputs:
                    self._put(outputs, result if len(outputs) > 1 else (result,), arguments[at:])
            except HostCallError as error:
                return error.status
            except MemoryFault:
                return INVALID_MEMORY_ACCESS
            return 0

        return run

    def _put(self, outputs: str, results: tuple[Any, ...], pointers: tuple[int, ...]) -> None:
        """Write the results of a host call to where its out-pointers show."""
        memory = self._memory
        at = 0
        for kind, result in zip(outputs, results, strict=True):
            if kind == "u":
                memory.write(pointers[at] & _MASK, _U32.pack(result & _MASK))
            elif kind == "U":
                memory.write(pointers[at] & _MASK, _U64.pack(result & 0xFFFF_FFFF_FFFF_FFFF))
            else:
                data = encode_pairs(result) if kind == "P" and result else result or b""
                address = self._place(data)
                memory.write(pointers[at] & _MASK, _U32.pack(address))
                at += 1
                memory.write(pointers[at] & _MASK, _U32.pack(len(data)))
            at += 1

    def _place(self, data: bytes) -> int:
        """Copy `data` into memory that the guest allocates; nothing is allocated for no bytes."""
        if not data:
            return 0
        address = (self.allocate(len(data)) or 0) & _MASK
        if not address:
            raise MemoryFault(f"the guest has no memory for {len(data)} bytes")
        self._memory.write(address, data)
        return address


def _signed(value: int) -> int:
    """The i32 in the lower 32 bits."""
    return ((value & _MASK) ^ 0x8000_0000) - 0x8000_0000


def _pairs(data: bytes) -> list[tuple[bytes, bytes]]:
    """Malformed pairs are an empty map, silently, as on Envoy."""
    try:
        return decode_pairs(data)
    except ValueError:
        return []
