"""Zeroing what the snapshot holds but no one can read again.

After initialisation half of CPython's heap is free: source text of the standard library, dead objects, copies of the
filter's files. Zeroes cost nothing in the file, so the linker clears them, as well as the dead part of the stack.

The walk follows wasi-libc's dlmalloc: chunks lie end to end from the heap's base; the word at +4 is the size with
three flags, of which 2 says "in use"; a free chunk keeps up to 24 bytes of list or tree links after its header.
"""

from .errors import BuildError
from .program import PAGE, Program
from .wasm.module import GLOBAL_KIND

_IN_USE = 2
_FLAGS = 7
_HEADER_SIZE = 8
_LINKS_SMALL = _HEADER_SIZE + 8  # a chunk in a list: forward, back
_LINKS_LARGE = _HEADER_SIZE + 24  # a chunk in a tree: forward, back, two children, parent, bin
_SMALL_MAX = 256  # chunks below this are in lists
_CHUNKS_MIN = 1000  # CPython's heap has tens of thousands: fewer means that this is not one


def scrub(program: Program) -> int:
    """Clears the free chunks and the dead stack in the memory image; returns how many bytes were not zero before.

    Raises BuildError if the heap is not laid out as expected.
    """
    memory = program.memory
    before = memory.count(0)
    stack_pointer = _global(program, "__stack_pointer")
    memory[:stack_pointer] = bytes(stack_pointer)
    for start, size in _free_chunks(program):
        links = start + (_LINKS_SMALL if size < _SMALL_MAX else _LINKS_LARGE)
        end = start + size
        if links < end:
            memory[links:end] = bytes(end - links)
    return memory.count(0) - before


def _global(program: Program, name: str) -> int:
    kind, index = program.modules[program.main].exports[name]
    assert kind == GLOBAL_KIND
    return program.global_value(program.main, index)


def _free_chunks(program: Program) -> list[tuple[int, int]]:
    """(address, size) of all free chunks."""
    chunk = (_global(program, "__heap_base") + 15) // 16 * 16 + _HEADER_SIZE
    free: list[tuple[int, int]] = []
    count = 0
    end = len(program.memory)
    while chunk + _HEADER_SIZE <= end and (head := program.word(chunk + 4)) != 0:
        size = head & ~_FLAGS
        if size < _LINKS_SMALL or chunk + size > end:
            raise BuildError(_unexpected(f"a chunk of {size} bytes at {chunk:#x}"))
        if not head & _IN_USE:
            free.append((chunk, size))
        chunk += size
        count += 1
    if count < _CHUNKS_MIN or chunk % PAGE:
        raise BuildError(_unexpected(f"{count} chunks that end at {chunk:#x}"))
    return free


def _unexpected(found: str) -> str:
    return (
        f"the heap of the snapshot was expected as wasi-libc's malloc lays it out, found {found}; "
        "use the pinned componentize-py, or build with --keep-free-heap"
    )
