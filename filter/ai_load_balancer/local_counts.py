"""In-flight counts of one gateway, in its shared data: for all its workers, without Redis.

Each worker knows what it has in flight and posts it on a board (policies/endpoint_board.py). So a count cannot drift,
and what a dead worker has posted expires.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from proxywasm import clock, shared_data
from proxywasm.errors import HostError

from .due import is_due
from .policies.decision import Rejected
from .policies.endpoint_board import EndpointBoard

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
        self._board = EndpointBoard((), worker, ttl_ms)
        self._is_on_board = False
        self._is_posted = False  # the board says what the counts say
        self._posted_ms = 0

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
        if self._endpoints is not endpoints:
            self._endpoints = endpoints
            self._board = EndpointBoard(endpoints, self._worker, self._ttl_ms)
        own, board = self._own, self._board
        decision: D | None = None

        def change(value: bytes | None) -> bytes:
            nonlocal decision
            if value is None or not self._is_posted or not board.holds(value):
                value = board.posted(value, own, now_ms)
            decision = decide(board.totals(value, now_ms))
            if isinstance(decision, Rejected):
                return value
            endpoint = decision[0]
            return board.posted(value, {**own, endpoint: own.get(endpoint, 0) + 1}, now_ms)

        self._is_on_board = True
        is_posted = self._update(change, now_ms)
        if decision is None:
            decision = decide([own.get(endpoint, 0) for endpoint in endpoints])
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
        elif not self._is_posted or is_due(now_ms, self._posted_ms, self._ttl_ms // RENEWALS_PER_TTL):
            self._post(now_ms)

    def _post(self, now_ms: int) -> None:
        own, board = self._own, self._board
        self._is_posted = self._update(lambda value: board.posted(value, own, now_ms), now_ms)

    def _withdraw(self, now_ms: int) -> None:
        board = self._board
        self._is_posted = False
        if self._update(lambda value: board.posted(value, {}, now_ms), now_ms):
            self._is_on_board = False

    def _update(self, change: Callable[[bytes | None], bytes], now_ms: int) -> bool:
        self._posted_ms = now_ms
        try:
            shared_data.update(self._key, change)
        except HostError:
            return False
        return True
