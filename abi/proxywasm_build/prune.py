"""Dropping C modules of CPython that the plugin did not import.

Only modules imported during the build exist at run time, built-in C modules excepted. So a large C module that is not
in the manifest's list can go: its entry in the table of built-in modules is renamed, which makes an import of it an
ordinary ImportError, and its functions are replaced by one that says so in the log and returns 0, for safety; nothing
calls it.

Functions of one object file stand together in the library, so a module is one or two ranges of function names.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from .addresses import named_addresses
from .codec_tables import clear_codec_tables
from .errors import BuildError
from .frozen import clear_frozen_modules
from .functions import Callable_, Function, HostImport, Synthetic
from .program import Program
from .static_data import StaticData
from .static_tables import clear_static_tables
from .wasm import assembler as asm
from .wasm.module import F32, F64, I32, I64, FuncType

LIBPYTHON = "libpython3.14.so"

# Module -> (first function, first function behind the range; None is the library's end).
PRUNABLE: dict[str, tuple[tuple[str, str | None], ...]] = {
    "_sqlite3": (("pysqlite_close_all_blobs", "PyInit_array"), ("sqlite3_log", None)),
    "_asyncio": (("PyInit__asyncio", "PyInit__bisect"),),
    "_csv": (("PyInit__csv", "PyInit__heapq"),),
    "_lsprof": (("PyInit__lsprof", "PyInit__pickle"),),
    "_pickle": (("PyInit__pickle", "PyInit__queue"),),
    "_zoneinfo": (("PyInit__zoneinfo", "PyInit_math"),),
    "cmath": (("PyInit_cmath", "PyInit__statistics"),),
    "_decimal": (("PyInit__decimal", "PyInit_binascii"), ("mpd_dflt_traphandler", "parserCreate")),
    "pyexpat": (("PyInit_pyexpat", "PyInit__elementtree"), ("parserCreate", "adler32_z")),
    "_elementtree": (("PyInit__elementtree", "PyInit__codecs_cn"),),
    "_codecs_cn": (("PyInit__codecs_cn", "PyInit__codecs_hk"),),
    "_codecs_hk": (("PyInit__codecs_hk", "PyInit__codecs_iso2022"),),
    "_codecs_iso2022": (("PyInit__codecs_iso2022", "PyInit__codecs_jp"),),
    "_codecs_jp": (("PyInit__codecs_jp", "PyInit__codecs_kr"),),
    "_codecs_kr": (("PyInit__codecs_kr", "PyInit__codecs_tw"),),
    "_codecs_tw": (("PyInit__codecs_tw", "PyInit__multibytecodec"),),
    "_multibytecodec": (("PyInit__multibytecodec", "PyInit_unicodedata"),),
    "unicodedata": (("PyInit_unicodedata", "PyInit_select"),),
}

# Modules that import a prunable one only when they come to need it.
_LATE_IMPORTS = {"urllib.parse": "unicodedata"}

_CODECS = "_codecs_"
_RENAMED = "(pruned)"
_LOG_ERROR = 4
_ZERO = {I32: b"\x41\x00", I64: b"\x42\x00", F32: b"\x43" + bytes(4), F64: b"\x44" + bytes(8)}


@dataclass(frozen=True, slots=True)
class Pruned:
    """`cleared_size` counts the bytes of tables and frozen modules that were zeroed."""

    modules: tuple[str, ...]
    replacements: dict[Function, Callable_]
    cleared_size: int


def prune(program: Program, keep: Iterable[str], log: HostImport, data: StaticData) -> Pruned:
    """Takes all prunable modules but `keep` out of the table of built-in modules, in the memory image.

    Returns them with the replacements of their functions. Raises BuildError if a boundary is not found.
    """
    library = program.library(LIBPYTHON)
    kept = set(keep)
    kept |= {needed for module, needed in _LATE_IMPORTS.items() if module in kept}
    modules = tuple(sorted(set(PRUNABLE) - kept))
    boundaries = _Boundaries(program, library)
    replacements: dict[Function, Callable_] = {}
    module_of: dict[int, str] = {}
    for module in modules:
        for first, behind in PRUNABLE[module]:
            for index in boundaries.between(first, behind):
                function = Function(library, index)
                replacements[function] = _error_function(program.type_of(function), log, data)
                module_of[index] = module
        _rename(program, module, program.named(library, f"PyInit_{module}"), data)
    named = named_addresses(program, library)
    codec_functions = {index for index, module in module_of.items() if module.startswith(_CODECS)}
    cleared_size = clear_codec_tables(program, library, named, codec_functions)
    cleared_size += clear_static_tables(program, library, named, module_of)
    cleared_size += clear_frozen_modules(program, library)
    return Pruned(modules, replacements, cleared_size)


class _Boundaries:
    def __init__(self, program: Program, library: int) -> None:
        names = program.function_names(library)
        self._end = max(names) + 1
        self._positions: dict[str, int | None] = {}
        for index, name in names.items():
            self._positions[name] = None if name in self._positions else index  # None: not unique

    def between(self, first: str, behind: str | None) -> range:
        return range(self._position(first), self._end if behind is None else self._position(behind))

    def _position(self, name: str) -> int:
        index = self._positions.get(name)
        if index is None:
            raise BuildError(
                f"the function {name} was expected once in {LIBPYTHON}; "
                "use the pinned componentize-py, or build with --keep-c-modules"
            )
        return index


def _error_function(type_: FuncType, log: HostImport, data: StaticData) -> Synthetic:
    address, size = data.text("a function of a pruned C module was called")
    message = (asm.i32_const(_LOG_ERROR), asm.i32_const(address), asm.i32_const(size), log, asm.DROP)
    return Synthetic(f"pruned {type_}", type_, (*message, *(_ZERO[result] for result in type_.results)))


def _rename(program: Program, module: str, init: Function, data: StaticData) -> None:
    """Renames each (name, init function) pair of the inittab: the library's static table and its copy in the heap."""
    slot = program.table.index(init) if init in program.table else None
    if slot is None:
        raise BuildError(f"PyInit_{module} was expected in the function table; use the pinned componentize-py")
    address, _ = data.text(_RENAMED + "\0")
    pattern, text = slot.to_bytes(4, "little"), module.encode() + b"\0"
    found = 0
    position = program.memory.find(pattern)
    while position >= 0:
        if position % 4 == 0:
            name = program.word(position - 4)
            if program.memory[name : name + len(text)] == text:
                program.memory[position - 4 : position] = address.to_bytes(4, "little")
                found += 1
        position = program.memory.find(pattern, position + 1)
    if not found:
        raise BuildError(f"an entry for {module} was expected in the inittab of {LIBPYTHON}, found none")
