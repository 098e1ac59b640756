"""One line of the report."""

from collections.abc import Mapping
from dataclasses import dataclass, field

CHUNK_LIMIT = 150  # instructions for a streamed chunk that follows the first one


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """All numbers are instructions.

    instructions: what one time costs, without the chunks that follow the first one
    first: the first request of all, which finds every cache of plugin and interpreter empty
    most: the dearest one of those that were measured
    chunk: one of the chunks that follow the first one
    tick: one tick while one request is in flight; None if none fell due
    go: what the Go plugin ai-load-balancer spends on the same
    limit: the most that `instructions` may be
    callbacks: the part of each callback
    """

    name: str
    instructions: int
    first: int | None = None
    most: int | None = None
    chunk: int | None = None
    tick: int | None = None
    go: int | None = None
    limit: int | None = None
    callbacks: Mapping[str, int] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Of what the Go plugin spends."""
        return self.instructions / self.go if self.go else None

    @property
    def misses(self) -> list[str]:
        """What is above its budget."""
        missed: list[str] = []
        if self.limit is not None and self.instructions > self.limit:
            missed.append(f"{self.instructions:,} instructions, the budget is {self.limit:,}")
        if self.chunk is not None and self.chunk > CHUNK_LIMIT:
            missed.append(f"{self.chunk:,} instructions for a chunk, the budget is {CHUNK_LIMIT:,}")
        return missed
