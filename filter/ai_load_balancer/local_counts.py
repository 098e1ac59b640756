"""In-flight counts of one gateway, in its shared data: for all its workers, without Redis.

Each worker knows what it has in flight and posts it on a board (policies/count_board.py). So a count cannot drift, and
what a dead worker has posted expires. The value is a fingerprint of the endpoints, then the board of their counts;
where workers see different endpoints for a moment, each begins the board anew.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TypeVar

from proxywasm import shared_data
from proxywasm.errors import CasMismatch

from .policies.count_board import CountBoard
from .policies.decision import Rejected

FINGERPRINT_BYTES = 8
RENEWALS_PER_TTL = 3  # as of leases

D = TypeVar("D", bound=tuple)  # type: ignore[type-arg]


class _Endpoints:
    """A set of endpoints, and what this worker has in flight at each."""

    def __init__(self, endpoints: tuple[str, ...], in_flight: dict[str, int], ttl_ms: int) -> None:
        self.endpoints = endpoints
        self.positions = {endpoint: position for position, endpoint in enumerate(endpoints)}
        self.counts = [in_flight.get(endpoint, 0) for endpoint in endpoints]
        self.absent = {endpoint: n for endpoint, n in in_flight.items() if n and endpoint not in self.positions}
        self.board = CountBoard(len(endpoints), ttl_ms)
        text = "\n".join(endpoints).encode("utf-8", "surrogateescape")
        self.fingerprint = blake2b(text, digest_size=FINGERPRINT_BYTES).digest()

    def in_flight(self) -> dict[str, int]:
        return {**self.absent, **dict(zip(self.endpoints, self.counts, strict=True))}

    def add(self, endpoint: str, n: int) -> None:
        position = self.positions.get(endpoint)
        if position is not None:
            self.counts[position] += n
            return
        self.absent[endpoint] = self.absent.get(endpoint, 0) + n
        if not self.absent[endpoint]:
            del self.absent[endpoint]


class LocalCounts:
    """The counts of one route and cluster as one worker sees and changes them. Times are in ms since the epoch."""

    def __init__(self, key: bytes, worker: bytes, ttl_ms: int) -> None:
        self._key = key
        self._worker = worker
        self._ttl_ms = ttl_ms
        self._known = _Endpoints((), {}, ttl_ms)
        self._is_on_board = False
        self._is_posted = False  # the board says what the counts say
        self._next_post_ms = 0

    @property
    def is_idle(self) -> bool:
        return not any(self._known.counts) and not self._known.absent

    def add(self, endpoint: str) -> None:
        """Counts a request that was routed by somebody else. The board is not told: nobody needs it then."""
        self._known.add(endpoint, 1)
        self._is_posted = False

    def take(self, endpoints: tuple[str, ...], now_ms: int, decide: Callable[[Sequence[int]], D]) -> D:
        """Decides by the counts of all workers, in the order of `endpoints`, and counts the request, if it is routed.

        A decision is Rejected, or begins with an endpoint. When other workers are always faster, the last decision
        stands and the board learns of it later; the same goes for a host that refuses.
        """
        known = self._see(endpoints)
        decision: D

        def change(value: bytes | None) -> bytes:
            nonlocal decision
            board = self._board_in(value)
            if board is None or not self._is_posted:
                board = known.board.post(board, self._worker, known.counts, now_ms)
            decision = decide(known.board.totals(board, now_ms))
            counts = known.counts
            if not isinstance(decision, Rejected):
                counts = counts.copy()
                counts[known.positions[decision[0]]] += 1
            return known.fingerprint + known.board.post(board, self._worker, counts, now_ms)

        self._is_on_board = True
        self._is_posted = self._update(change, now_ms)
        if not isinstance(decision, Rejected):
            known.add(decision[0], 1)
        return decision

    def remove(self, endpoint: str, now_ms: int) -> None:
        """Counts one request less."""
        self._known.add(endpoint, -1)
        if self._is_on_board:
            self._post(now_ms)

    def on_tick(self, now_ms: int, is_needed: bool) -> None:
        """Renews what is on the board; takes it off when the board is not needed."""
        if not self._is_on_board:
            return
        if not is_needed or self.is_idle:
            self._withdraw(now_ms)
        elif not self._is_posted or now_ms >= self._next_post_ms:
            self._post(now_ms)

    def _see(self, endpoints: tuple[str, ...]) -> _Endpoints:
        if self._known.endpoints is not endpoints and self._known.endpoints != endpoints:
            self._known = _Endpoints(endpoints, self._known.in_flight(), self._ttl_ms)
            self._is_posted = False
        return self._known

    def _board_in(self, value: bytes | None) -> bytes | None:
        """The board of these endpoints, None if there is none."""
        if value is not None and value.startswith(self._known.fingerprint):
            return value[FINGERPRINT_BYTES:]
        return None

    def _post(self, now_ms: int) -> None:
        self._is_posted = self._update(lambda value: self._with_counts(value, self._known.counts, now_ms), now_ms)

    def _withdraw(self, now_ms: int) -> None:
        none = [0] * len(self._known.counts)
        if self._update(lambda value: self._with_counts(value, none, now_ms), now_ms):
            self._is_on_board = False

    def _with_counts(self, value: bytes | None, counts: Sequence[int], now_ms: int) -> bytes:
        """The value with this worker's counts. A board of other endpoints is left to those who know them."""
        known = self._known
        board = self._board_in(value)
        if value and board is None:
            return value
        return known.fingerprint + known.board.post(board, self._worker, counts, now_ms)

    def _update(self, change: Callable[[bytes | None], bytes], now_ms: int) -> bool:
        self._next_post_ms = now_ms + self._ttl_ms // RENEWALS_PER_TTL
        try:
            shared_data.update(self._key, change)
        except CasMismatch:
            return False
        return True
