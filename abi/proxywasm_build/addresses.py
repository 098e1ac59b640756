"""Where a library's static data lies, and which addresses its functions name.

Code is position-independent: an address in it is a global, the library's memory base, plus a constant.
"""

from .program import Program
from .wasm import code

RELOCATIONS = "__wasm_apply_data_relocs"  # a function that ran before the snapshot; it names every pointer in the data


def static_data(program: Program, library: int) -> tuple[int, int]:
    """Where a library's static data begins, and where that of the next one does."""
    bases = sorted(program.memory_base(instance) for instance in program.libraries())
    base = program.memory_base(library)
    return base, next(other for other in bases if other > base)


def named_addresses(program: Program, library: int) -> dict[int, set[int]]:
    """Function index -> the addresses that the function names, for all functions that a library defines."""
    return {
        function.index: {
            program.global_value(function.instance, index) + addend & 0xFFFFFFFF
            for kind, index, addend in program.body(function).references()
            if kind in (code.GLOBAL_GET, code.GLOBAL_GET_PLUS)
        }
        for function in program.functions(library)
    }
