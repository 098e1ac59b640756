"""Zeroing large constant tables of pruned C modules, such as the names of all Unicode characters.

The constants of an object file stand together in the library's static data, as its functions do. So what lies between
two addresses that only the functions of one module name, and nothing names an address in between, is the module's own.
"""

from collections.abc import Mapping
from itertools import pairwise

from .addresses import static_data
from .program import Program

_SIZE_MIN = 1024  # what is smaller may be strings, which modules share
_MARGIN = 256  # a table may be named by an address before it: that of its item 0, if its first item is a later one


def clear_static_tables(
    program: Program, library: int, named: Mapping[int, set[int]], modules: Mapping[int, str]
) -> int:
    """Zeroes what only functions of pruned modules name; returns how many bytes that had.

    `named` is what each function of the library names, `modules` tells the module of the pruned ones, by index.
    """
    start, end = static_data(program, library)
    owners: dict[int, str] = {}  # address -> pruned module, or "" if something else names it as well
    for index, addresses in named.items():
        module = modules.get(index, "")
        for address in addresses:
            owners[address] = module if owners.get(address, module) == module else ""
    cleared = 0
    for table, behind in pairwise(sorted(address for address in owners if start <= address < end)):
        if owners[table] and owners[table] == owners[behind] and behind - table >= _SIZE_MIN:
            program.memory[table + _MARGIN : behind] = bytes(behind - table - _MARGIN)
            cleared += behind - table - _MARGIN
    return cleared
