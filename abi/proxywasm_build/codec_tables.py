"""Zeroing the mapping tables of pruned CJK codecs: half a megabyte that does not compress.

A codec's C file (Modules/cjkcodecs) has arrays of 256 index entries {pointer to a table of u16, first, last}, indexed
by the high byte of a character. Nothing but the codec's functions refers to the arrays, and nothing but the arrays to
the tables. So: the stretches of static data between two addresses that functions kept name, in which functions of
pruned codecs name some, hold arrays; each entry tells where its table is and how long. What only looks like an entry is
told by this: tables lie end to end, and no function that is kept names an address in one.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping

from .addresses import RELOCATIONS, static_data
from .program import Program

_ENTRY_SIZE = 8
_TABLE_ITEM_SIZE = 2


def clear_codec_tables(program: Program, library: int, named: Mapping[int, set[int]], codec_functions: set[int]) -> int:
    """Zeroes the tables of the codecs whose functions are given by index; returns how many bytes the tables had.

    `named` is what each function of the library names.
    """
    start, end = static_data(program, library)
    relocations = program.exported(library, RELOCATIONS).index
    pruned = set[int]().union(*(named[index] for index in codec_functions))
    kept = set[int]().union(*(named[index] for index in named.keys() - codec_functions - {relocations}))
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


def _tables(program: Program, address: int, stretch_end: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(address, end) of the tables that what looks like entries from `address` on points to."""
    memory = program.memory
    for entry in range(address, stretch_end - _ENTRY_SIZE + 1, _ENTRY_SIZE):
        table, first, last = program.word(entry), memory[entry + 4], memory[entry + 5]
        if start <= table < end and first <= last and not any(memory[entry + 6 : entry + 8]):
            yield table, table + (last - first + 1) * _TABLE_ITEM_SIZE
