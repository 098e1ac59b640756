"""A sorted set: members in the order of (score, member)."""

from bisect import bisect_left, bisect_right, insort


class SortedSet:
    def __init__(self) -> None:
        self.scores: dict[bytes, float] = {}
        self._ordered: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self.scores)

    def add(self, member: bytes, score: float) -> bool:
        """True if the member is new."""
        is_new = not self.remove(member)
        self.scores[member] = score
        insort(self._ordered, (score, member))
        return is_new

    def remove(self, member: bytes) -> bool:
        score = self.scores.pop(member, None)
        if score is None:
            return False
        del self._ordered[bisect_left(self._ordered, (score, member))]
        return True

    def between(self, low: float, high: float, low_open: bool, high_open: bool) -> list[tuple[float, bytes]]:
        """The entries with scores from `low` to `high`; an open end does not belong."""
        start = (bisect_right if low_open else bisect_left)(self._ordered, low, key=_score)
        stop = (bisect_left if high_open else bisect_right)(self._ordered, high, key=_score)
        return self._ordered[start:stop]

    def ranks(self, start: int, stop: int) -> list[tuple[float, bytes]]:
        """The entries from rank `start` to `stop`, both included; negative ranks count from the end."""
        size = len(self._ordered)
        first = max(start + size if start < 0 else start, 0)
        last = stop + size if stop < 0 else stop
        return self._ordered[first : last + 1] if last >= first else []


def _score(entry: tuple[float, bytes]) -> float:
    return entry[0]
