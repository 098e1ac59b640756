"""A page of initial memory for constants of the functions that the build tool adds."""

from .errors import BuildError
from .program import PAGE, Program


class StaticData:
    """Hands out addresses in a page appended to the memory image."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._start = self._next = program.add_page()
        self._texts: dict[str, int] = {}

    def reserve(self, size: int) -> int:
        """The address of `size` zero bytes, aligned to 8."""
        address = (self._next + 7) & ~7
        self._next = address + size
        if self._next > self._start + PAGE:
            raise BuildError(f"the build tool's own data outgrew its page of {PAGE} bytes")
        return address

    def text(self, text: str) -> tuple[int, int]:
        """(address, size) of a text in UTF-8."""
        data = text.encode()
        if text not in self._texts:
            address = self._texts[text] = self.reserve(len(data))
            self._program.memory[address : address + len(data)] = data
        return self._texts[text], len(data)
