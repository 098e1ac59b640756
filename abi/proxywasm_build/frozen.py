"""Zeroing the frozen modules: the standard library's first modules as marshalled code, in CPython's static data.

They are read when they are imported, which has been done at build time. Each table of them (`struct _frozen` of
Include/cpython/import.h) ends at an entry without a name, so a table whose first entry has none is empty: an import of
what was not imported then is an ordinary ImportError.
"""

from .errors import BuildError
from .program import Program

_TABLES = ("_PyImport_FrozenBootstrap", "_PyImport_FrozenStdlib", "_PyImport_FrozenTest")
_ENTRY_SIZE = 16  # the addresses of the name and of the code, the size of the code, a flag
_ENTRIES_MAX = 100
_CODE = b"c"  # how marshal begins a code object


def clear_frozen_modules(program: Program, library: int) -> int:
    """Empties CPython's tables of frozen modules in the memory image; returns how many bytes their code had.

    Raises BuildError if a table does not look like one.
    """
    cleared = 0
    for table in _TABLES:
        entry = program.word(program.data_address(library, table))
        for _ in range(_ENTRIES_MAX):
            if not program.word(entry):
                break
            address, size = program.word(entry + 4), program.word(entry + 8)
            if program.memory[address : address + 1] not in (_CODE, b"\0"):  # aliases share their code
                raise BuildError(f"the code of a frozen module was expected at {address:#x}, as {table} says")
            program.memory[address : address + size] = bytes(size)
            program.memory[entry : entry + _ENTRY_SIZE] = bytes(_ENTRY_SIZE)
            cleared += size
            entry += _ENTRY_SIZE
    return cleared
