"""Which worker of a gateway does what all of them need, every now and then: one at a time."""

from proxywasm import shared_data
from proxywasm.errors import CasMismatch

MAX_EARLY_MS = 100  # a timer that fires so much too early is on time, but by no more than an eighth of the interval


class Turns:
    """Turns under one key of the shared data, every `interval_ms`.

    The value is when the next turn is due. The worker that finds it due puts it off by compare-and-swap, and the turn
    is its own; so nothing is left behind if that worker dies. (Only as long as there is no value, several workers may
    take the first turn.)
    """

    def __init__(self, key: bytes, interval_ms: int) -> None:
        self._key = key
        self._interval_ms = interval_ms
        self._early_ms = min(MAX_EARLY_MS, interval_ms // 8)

    def take(self, now_ms: int) -> bool:
        """Whether it is this worker's turn now. Raises HostError."""
        value, cas = shared_data.get(self._key) or (b"", 0)
        remaining_ms = int.from_bytes(value, "little") - now_ms
        # A turn further away than an interval is from before the clock was set back.
        if self._early_ms < remaining_ms <= self._interval_ms:
            return False
        try:
            shared_data.set(self._key, (now_ms + self._interval_ms).to_bytes(8, "little"), cas)
        except CasMismatch:
            return False
        return True
