"""A board on which every worker of a gateway posts its own counts; what counts is the sum over the living workers.

A worker knows what it has in flight, so it posts all its counts anew at every change. Hence no count can drift, be lost
in a race, or become negative; and what a dead worker has posted expires, because nobody renews it.

The board is a row of sections, one per worker: the worker's id, when the section expires (f64, ms since the epoch), and
one count per position (u32), all little-endian.
"""

from collections.abc import Sequence
from struct import Struct

WORKER_ID_BYTES = 8
SECTION_TTL_MS = 60_000
MAX_WORKERS = 1024  # beyond it, the section that is on the board for longest is dropped


class CountBoard:
    """Reads and writes boards of `size` counts, which begin at `offset` in a value and end with it.

    A board that is missing (None) or of another size has no sections. A section expires after `section_ttl_ms` unless
    it is posted again.
    """

    def __init__(self, size: int, section_ttl_ms: int = SECTION_TTL_MS, offset: int = 0) -> None:
        self._section = Struct(f"<{WORKER_ID_BYTES}sd{size}I")
        self._posted = Struct(f"<{WORKER_ID_BYTES}xd{size}I")  # a section without the worker's id
        self._zeros = (0,) * size
        self.section_bytes = self._section.size
        self._section_ttl_ms = section_ttl_ms
        self._offset = offset
        self._one_section_bytes = offset + self.section_bytes  # of a value whose board has one section

    def totals(self, value: bytes | None, now_ms: float) -> Sequence[int]:
        """The sums of all sections that have not expired."""
        if not value:
            return self._zeros
        if len(value) == self._one_section_bytes:
            section = self._posted.unpack_from(value, self._offset)
            return section[1:] if section[0] > now_ms else self._zeros
        board = value[self._offset :]
        if len(board) % self.section_bytes:
            return self._zeros
        living = [section[1:] for section in self._posted.iter_unpack(board) if section[0] > now_ms]
        return list(map(sum, zip(*living, strict=True))) if living else self._zeros

    def post(self, value: bytes | None, worker: bytes, counts: Sequence[int], now_ms: float) -> bytes:
        """The value with the worker's section replaced. A worker that was not there also removes what has expired."""
        section = self._section.pack(worker, now_ms + self._section_ttl_ms, *counts)
        if not value:
            return section
        offset = self._offset
        if len(value) != self._one_section_bytes or not value.startswith(worker, offset):
            section = self._replaced(value[offset:], worker, section, now_ms)
        return value[:offset] + section if offset else section

    def _replaced(self, board: bytes, worker: bytes, section: bytes, now_ms: float) -> bytes:
        size = self.section_bytes
        if len(board) % size:
            return section
        position = board.find(worker)
        while position > 0 and position % size:  # found inside a section: an id begins one
            position = board.find(worker, position + 1)
        if position >= 0:
            return board[:position] + section + board[position + size :]
        living = [one for one in self._sections(board, size) if self._section.unpack(one)[1] > now_ms]
        return b"".join((*living[1 - MAX_WORKERS :], section))

    def living(self, board: bytes, now_ms: float) -> list[tuple[bytes, float, Sequence[int]]]:
        """(worker, when it expires, counts) of all sections that have not expired."""
        if len(board) % self.section_bytes:
            return []
        sections = self._section.iter_unpack(board)
        return [(section[0], section[1], section[2:]) for section in sections if section[1] > now_ms]

    def section(self, worker: bytes, expires_ms: float, counts: Sequence[int]) -> bytes:
        """One section; a board is a row of them."""
        return self._section.pack(worker, expires_ms, *counts)

    def _sections(self, board: bytes, size: int) -> list[bytes]:
        return [board[start : start + size] for start in range(0, len(board), size)]
