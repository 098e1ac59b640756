"""What all modes of cluster_metrics have in common."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from ..policies.cluster_metrics import Verdict, statistics_key
from ..policies.recent_picks import RecentPicks

RANDOM_BITS = 31

FirstToken: TypeAlias = Callable[[int, float, float], None]
"""(position, ttft_ms, now_ms)"""


class Mode(Protocol):
    """Services are named by their position; times are in ms since the epoch."""

    name: str
    wants_first_token: bool

    @property
    def first_token(self) -> FirstToken | None:
        """Records the first body chunk of a success at once; None if `finish` does."""

    @property
    def is_idle(self) -> bool:
        """Nothing is in flight."""

    def start(self, now_ms: float) -> int:
        """Chooses the service for a request that starts now. Raises HostError; then nothing was started."""

    def finish(
        self, position: int, verdict: Verdict, started_ms: float, first_token_ms: float | None, now_ms: float
    ) -> None:
        """The request ended; called exactly once for each that was started. `first_token_ms` is when that was."""

    def candidates(self, position: int, now_ms: float) -> dict[int, dict[str, float]]:
        """What `start`, which has just chosen `position`, compared: for each service the terms of its metric."""

    def on_tick(self, now_ms: float) -> None: ...


def picks_of(services: Sequence[str], rate_limit: float, queue_size: int) -> RecentPicks | None:
    return RecentPicks(len(services), queue_size, rate_limit) if rate_limit < 1 else None


def key_of(name: str, services: Sequence[str], rate_limit: float, queue_size: int) -> bytes:
    """With a rate limit, the recent picks are a part of the value."""
    return statistics_key(name if rate_limit >= 1 else f"{name}|limited", services, queue_size)
