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
    """Reads and writes boards of `size` counts. A board that is missing (None) or of another size has no sections.

    A section expires after `section_ttl_ms` unless it is posted again.
    """

    def __init__(self, size: int, section_ttl_ms: int = SECTION_TTL_MS) -> None:
        self._section = Struct(f"<{WORKER_ID_BYTES}sd{size}I")
        self._zeros = (0,) * size
        self.section_bytes = self._section.size
        self._section_ttl_ms = section_ttl_ms

    def totals(self, board: bytes | None, now_ms: float) -> Sequence[int]:
        """The sums of all sections that have not expired."""
        size = self._section.size
        if not board or len(board) % size:
            return self._zeros
        if len(board) == size:
            section = self._section.unpack(board)
            return section[2:] if section[1] > now_ms else self._zeros
        living = [section[2:] for section in self._section.iter_unpack(board) if section[1] > now_ms]
        return list(map(sum, zip(*living, strict=True))) if living else self._zeros

    def post(self, board: bytes | None, worker: bytes, counts: Sequence[int], now_ms: float) -> bytes:
        """The board with the worker's section replaced. A worker that was not on it also removes what has expired."""
        section = self._section.pack(worker, now_ms + self._section_ttl_ms, *counts)
        size = self.section_bytes
        if not board or (len(board) == size and board.startswith(worker)) or len(board) % size:
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
