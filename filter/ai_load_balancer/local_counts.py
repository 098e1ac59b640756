"""In-flight counts of one gateway, in its shared data: for all its workers, without Redis.

Each worker knows what it has in flight and posts it on a board (policies/count_board.py). So a count cannot drift, and
what a dead worker has posted expires. The value is a fingerprint of the endpoints, then the board of their counts;
where workers see different endpoints for a moment, each begins the board anew.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TypeVar

from proxywasm import clock, shared_data
from proxywasm.errors import HostError

from .policies.count_board import CountBoard
from .policies.decision import Rejected

FINGERPRINT_BYTES = 8
RENEWALS_PER_TTL = 3  # as of leases

D = TypeVar("D", bound=tuple)  # type: ignore[type-arg]


class LocalCounts:
    """The counts of one route and cluster as one worker sees and changes them. Times are in ms since the epoch."""

    def __init__(self, key: bytes, worker: bytes, ttl_ms: int) -> None:
        self._key = key
        self._worker = worker
        self._ttl_ms = ttl_ms
        self._own: dict[str, int] = {}  # endpoint -> what this worker has in flight there
        self._endpoints: tuple[str, ...] = ()
        self._fingerprint = b""
        self._board = CountBoard(0, ttl_ms)
        self._is_on_board = False
        self._is_posted = False  # the board says what the counts say
        self._next_post_ms = 0

    @property
    def is_idle(self) -> bool:
        return not self._own

    def add(self, endpoint: str) -> None:
        """Counts a request that was routed by somebody else. The board is not told: nobody needs it then."""
        own = self._own
        own[endpoint] = own.get(endpoint, 0) + 1
        self._is_posted = False

    def take(self, endpoints: tuple[str, ...], now_ms: int, decide: Callable[[Sequence[int]], D]) -> D:
        """Decides by the counts of all workers, in the order of `endpoints`, and counts the request, if it is routed.

        A decision is Rejected, or begins with an endpoint. When other workers are always faster, the last decision
        stands and the board learns of it later; a board that cannot be read counts as what this worker knows.
        """
        self._see(endpoints)
        counts = self._counts()
        decision: D | None = None

        def change(value: bytes | None) -> bytes:
            nonlocal decision
            board = self._board_in(value)
            if board is None or not self._is_posted or self._worker not in board:
                board = self._board.post(board, self._worker, counts, now_ms)
            decision = decide(self._board.totals(board, now_ms))
            if isinstance(decision, Rejected):
                return self._fingerprint + board
            with_this = counts.copy()
            with_this[endpoints.index(decision[0])] += 1
            return self._fingerprint + self._board.post(board, self._worker, with_this, now_ms)

        self._is_on_board = True
        is_posted = self._update(change, now_ms)
        if decision is None:
            decision = decide(counts)
        if not isinstance(decision, Rejected):
            self.add(decision[0])
        self._is_posted = is_posted
        return decision

    def remove(self, endpoint: str) -> None:
        """Counts one request less."""
        own = self._own
        left = own[endpoint] - 1
        if left:
            own[endpoint] = left
        else:
            del own[endpoint]
        self._is_posted = False
        if self._is_on_board:
            self._post(clock.now_ns() // 1_000_000)

    def on_tick(self, now_ms: int, is_needed: bool) -> None:
        """Renews what is on the board; takes it off when the board is not needed."""
        if not self._is_on_board:
            return
        if not is_needed or not self._own:
            self._withdraw(now_ms)
        elif not self._is_posted or now_ms >= self._next_post_ms:
            self._post(now_ms)

    def _see(self, endpoints: tuple[str, ...]) -> None:
        if self._endpoints is endpoints:
            return
        self._endpoints = endpoints
        self._board = CountBoard(len(endpoints), self._ttl_ms)
        text = "\n".join(endpoints).encode("utf-8", "surrogateescape")
        self._fingerprint = blake2b(text, digest_size=FINGERPRINT_BYTES).digest()
        self._is_posted = False

    def _counts(self) -> list[int]:
        own = self._own
        return [own.get(endpoint, 0) for endpoint in self._endpoints] if own else [0] * len(self._endpoints)

    def _board_in(self, value: bytes | None) -> bytes | None:
        """The board of these endpoints, None if there is none."""
        if value is not None and value.startswith(self._fingerprint):
            return value[FINGERPRINT_BYTES:]
        return None

    def _post(self, now_ms: int) -> None:
        counts = self._counts()
        self._is_posted = self._update(lambda value: self._with_counts(value, counts, now_ms), now_ms)

    def _withdraw(self, now_ms: int) -> None:
        none = [0] * len(self._endpoints)
        self._is_posted = False
        if self._update(lambda value: self._with_counts(value, none, now_ms), now_ms):
            self._is_on_board = False

    def _with_counts(self, value: bytes | None, counts: Sequence[int], now_ms: int) -> bytes:
        """The value with this worker's counts. A board of other endpoints is left to those who know them."""
        board = self._board_in(value)
        if value and board is None:
            return value
        return self._fingerprint + self._board.post(board, self._worker, counts, now_ms)

    def _update(self, change: Callable[[bytes | None], bytes], now_ms: int) -> bool:
        self._next_post_ms = now_ms + self._ttl_ms // RENEWALS_PER_TTL
        try:
            shared_data.update(self._key, change)
        except HostError:
            return False
        return True
