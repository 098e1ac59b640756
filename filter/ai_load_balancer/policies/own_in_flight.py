"""What one worker has in flight at each service, failures with no credit for being fast.

A service that fails at once would always be the least busy one. So a failed request goes on counting for as long as a
slow request takes, and by Little's law the service attracts no more than a service that is as slow.
"""

from collections import deque

from .handicaps import FAILURE_HOLD_MS

MAX_HELD = 1024  # beyond it, the failure that is held for longest stops counting


class OwnInFlight:
    """The counts of one worker, by position."""

    def __init__(self, size: int) -> None:
        self.counts = [0] * size
        self.held: deque[tuple[float, int]] = deque()  # failures: (when it stops counting, ms; position)

    def start(self, position: int) -> None:
        self.counts[position] += 1

    def finish(self, position: int) -> None:
        """The request ended, and not by a failure of the service."""
        self.counts[position] -= 1

    def fail(self, position: int, started_ms: float, now_ms: float) -> None:
        """The service failed. The request goes on counting until FAILURE_HOLD_MS after its start."""
        until_ms = started_ms + FAILURE_HOLD_MS
        if until_ms <= now_ms:
            self.finish(position)
            return
        self.held.append((until_ms, position))
        if len(self.held) > MAX_HELD:
            self.finish(self.held.popleft()[1])

    def release(self, now_ms: float) -> bool:
        """Stops counting the failures whose time is over, in the order of their ends; True if there was one."""
        held = self.held
        if not held or held[0][0] > now_ms:
            return False
        while held and held[0][0] <= now_ms:
            self.finish(held.popleft()[1])
        return True
