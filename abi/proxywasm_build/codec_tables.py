"""Zeroing the mapping tables of pruned CJK codecs: half a megabyte that does not compress.

A codec's C file (Modules/cjkcodecs) has arrays of 256 index entries {pointer to a table of u16, first, last}, indexed
by the high byte of a character. Nothing but the codec's functions refers to the arrays, and nothing but the arrays to
the tables. So: the stretches of static data between two addresses that functions kept name, in which functions of
pruned codecs name some, hold arrays; each entry tells where its table is and how long. What only looks like an entry is
told by this: tables lie end to end, and no function that is kept names an address in one.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from .functions import Function
from .program import Program
from .wasm import code

_ENTRY_SIZE = 8
_TABLE_ITEM_SIZE = 2
_RELOCATIONS = "__wasm_apply_data_relocs"  # ran before the snapshot; it names every pointer in the data


def clear_tables(program: Program, library: int, codec_functions: set[int]) -> int:
    """Zeroes the tables of the codecs whose functions are given by index; returns how many bytes the tables had."""
    start, end = _static_data(program, library)
    kept, pruned = _named_addresses(program, library, codec_functions)
    boundaries = sorted(address for address in {*kept, start, end} if start <= address <= end)
    tables: dict[int, int] = {}  # address -> end
    for address in pruned - kept:
        if start <= address < end:
            stretch_end = boundaries[bisect_right(boundaries, address)]
            tables.update(_tables(program, address, stretch_end, start, end))
    ends = set(tables.values())
    cleared = 0
    for table, table_end in sorted(tables.items()):
        has_neighbour = table in ends or table_end in tables
        if has_neighbour and bisect_left(boundaries, table) == bisect_left(boundaries, table_end):
            program.memory[table:table_end] = bytes(table_end - table)
            cleared += table_end - table
    return cleared


def _static_data(program: Program, library: int) -> tuple[int, int]:
    """Where a library's static data begins, and where that of the next one does."""
    bases = sorted(program.memory_base(instance) for instance in program.libraries())
    base = program.memory_base(library)
    return base, next(other for other in bases if other > base)


def _named_addresses(program: Program, library: int, codec_functions: set[int]) -> tuple[set[int], set[int]]:
    """Addresses of data that the library's functions name: those kept, and those of the codecs."""
    kept: set[int] = set()
    pruned: set[int] = set()
    relocations = program.exported(library, _RELOCATIONS)
    for function in program.functions(library):
        if function != relocations:
            named = pruned if function.index in codec_functions else kept
            named.update(_addresses(program, function))
    return kept, pruned


def _addresses(program: Program, function: Function) -> Iterator[int]:
    for kind, index, addend in program.body(function).references():
        if kind in (code.GLOBAL_GET, code.GLOBAL_GET_PLUS):
            yield program.global_value(function.instance, index) + addend & 0xFFFFFFFF


def _tables(program: Program, address: int, stretch_end: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(address, end) of the tables that what looks like entries from `address` on points to."""
    memory = program.memory
    for entry in range(address, stretch_end - _ENTRY_SIZE + 1, _ENTRY_SIZE):
        table, first, last = program.word(entry), memory[entry + 4], memory[entry + 5]
        if start <= table < end and first <= last and not any(memory[entry + 6 : entry + 8]):
            yield table, table + (last - first + 1) * _TABLE_ITEM_SIZE
