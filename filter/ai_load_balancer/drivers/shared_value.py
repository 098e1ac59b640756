"""One value of shared data that the workers of a gateway edit by compare-and-swap."""

from proxywasm import shared_data
from proxywasm.errors import CasMismatch

from ..policies.value import Value

MAX_ATTEMPTS = 16  # beyond it a change is given up: no request waits

ATTEMPTS = range(MAX_ATTEMPTS)

_get = shared_data.get
_compare_and_set = shared_data.compare_and_set


class SharedValue:
    """`empty` is the value before anybody wrote it; behind it may be whole records of `record_bytes`.

    A change is read, edit, write, within one callback, and anew for one of ATTEMPTS while `write` returns False.
    """

    def __init__(self, key: bytes, empty: Value, record_bytes: int = 0) -> None:
        self._key = key
        self._empty = bytes(empty)
        self._record_bytes = record_bytes
        self._size = len(empty)  # that of the last value that was ours
        self._cas = 0

    def read(self) -> bytes:
        """The value; `empty` if there is none, or one that cannot be ours. Raises HostError."""
        found = _get(self._key)
        if found is None:
            found = self._created()
        value, self._cas = found
        return value if len(value) == self._size or self._is_ours(value) else self._empty

    def write(self, value: Value) -> bool:
        """False if another worker wrote since `read`. Raises HostError."""
        try:
            _compare_and_set(self._key, value, self._cas)
        except CasMismatch:
            return False
        return True

    def _created(self) -> tuple[bytes, int]:
        shared_data.update(self._key, lambda value: self._empty if value is None else value)
        return _get(self._key) or (self._empty, 0)

    def _is_ours(self, value: bytes) -> bool:
        more = len(value) - len(self._empty)
        is_ours = more == 0 or (more > 0 and self._record_bytes > 0 and more % self._record_bytes == 0)
        if is_ours:
            self._size = len(value)
        return is_ours
