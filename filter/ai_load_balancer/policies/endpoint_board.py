"""In-flight counts by endpoint and worker, as one value that tells itself which endpoints it is about.

The value: the endpoints, a space between them, and a line end; then the board of their counts (count_board). Workers
may see different endpoints for a while, as they come and go. So a value of other endpoints is carried over: what
living workers have in flight stays, also at endpoints that the one who decides does not see.
"""

from collections.abc import Mapping, Sequence

from .count_board import MAX_WORKERS, CountBoard


class EndpointBoard:
    """Reads and writes such values for one worker. Of the board, the counts of `endpoints` come first.

    `own` are this worker's counts by endpoint; those that are 0 may be left out.
    """

    def __init__(self, endpoints: Sequence[str], worker: bytes, ttl_ms: int) -> None:
        self._endpoints = tuple(endpoints)
        self._positions = {endpoint: position for position, endpoint in enumerate(endpoints)}
        self._names = _names(endpoints)
        self._worker = worker
        self._ttl_ms = ttl_ms
        self._board = CountBoard(len(endpoints), ttl_ms, offset=len(self._names))

    def totals(self, value: bytes, now_ms: int) -> Sequence[int]:
        """What all workers have in flight at `endpoints`, by a value that `posted` gave."""
        names_size = value.index(b"\n") + 1
        if names_size == len(self._names):
            return self._board.totals(value, now_ms)
        count = value.count(b" ", 0, names_size) + 1
        return CountBoard(count, self._ttl_ms).totals(value[names_size:], now_ms)[: len(self._endpoints)]

    def holds(self, value: bytes | None) -> bool:
        """Whether the value is about these endpoints alone, and this worker has posted on it."""
        return value is not None and value.startswith(self._names) and self._worker in value

    def posted(self, value: bytes | None, own: Mapping[str, int], now_ms: int) -> bytes:
        """The value with this worker's counts."""
        if value is None or not value.startswith(self._names):
            return self._carried_over(value, own, now_ms)
        counts = [0] * len(self._endpoints)
        try:
            for endpoint, count in own.items():
                counts[self._positions[endpoint]] = count
        except KeyError:  # at an endpoint that is gone
            return self._carried_over(value, own, now_ms)
        return self._board.post(value, self._worker, counts, now_ms)

    def _carried_over(self, value: bytes | None, own: Mapping[str, int], now_ms: int) -> bytes:
        sections = [section for section in living(value, now_ms) if section[0] != self._worker]
        sections = [*sections[1 - MAX_WORKERS :], (self._worker, now_ms + self._ttl_ms, own)]
        elsewhere = {
            name for _, _, counts in sections for name, count in counts.items() if count
        } - self._positions.keys()
        names = (*self._endpoints, *sorted(elsewhere))
        board = CountBoard(len(names), self._ttl_ms)
        return _names(names) + b"".join(
            [
                board.section(worker, until_ms, [counts.get(name, 0) for name in names])
                for worker, until_ms, counts in sections
            ]
        )


def living(value: bytes | None, now_ms: int) -> list[tuple[bytes, float, Mapping[str, int]]]:
    """(worker, when its counts expire, its counts by endpoint) of all living workers on a board."""
    head, line_end, rest = (value or b"").partition(b"\n")
    if not line_end:
        return []
    names = head.decode("utf-8", "surrogateescape").split(" ")
    return [
        (worker, until_ms, dict(zip(names, counts, strict=True)))
        for worker, until_ms, counts in CountBoard(len(names)).living(rest, now_ms)
    ]


def _names(endpoints: Sequence[str]) -> bytes:
    return " ".join(endpoints).encode("utf-8", "surrogateescape") + b"\n"
