"""One database: keys, their values of three types, and when they expire."""

from collections.abc import Callable
from typing import TypeAlias

from ..codec import RespError
from .sorted_set import SortedSet

Value: TypeAlias = bytes | dict[bytes, bytes] | SortedSet
WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"


class Store:
    def __init__(self, now_ns: Callable[[], int]) -> None:
        self.now_ns = now_ns
        self._values: dict[bytes, Value] = {}
        self._expiries_ms: dict[bytes, int] = {}

    def get(self, key: bytes) -> Value | None:
        expiry_ms = self._expiries_ms.get(key)
        if expiry_ms is not None and self._now_ms() >= expiry_ms:
            self._drop(key)
        return self._values.get(key)

    def string(self, key: bytes) -> bytes | None:
        value = self.get(key)
        if value is not None and not isinstance(value, bytes):
            raise RespError(WRONG_TYPE)
        return value

    def hash(self, key: bytes, make: bool = False) -> dict[bytes, bytes]:
        """Without `make`, a missing hash is an empty one that is not kept."""
        value = self.get(key)
        if value is None:
            value = {}
            if make:
                self._values[key] = value
        elif not isinstance(value, dict):
            raise RespError(WRONG_TYPE)
        return value

    def sorted_set(self, key: bytes, make: bool = False) -> SortedSet:
        value = self.get(key)
        if value is None:
            value = SortedSet()
            if make:
                self._values[key] = value
        elif not isinstance(value, SortedSet):
            raise RespError(WRONG_TYPE)
        return value

    def set(self, key: bytes, value: bytes) -> None:
        self._expiries_ms.pop(key, None)
        self._values[key] = value

    def replace(self, key: bytes, value: bytes) -> None:
        """`set`, but it goes on to expire when it was to."""
        self._values[key] = value

    def delete(self, key: bytes) -> bool:
        was_there = self.get(key) is not None
        self._drop(key)
        return was_there

    def drop_if_empty(self, key: bytes) -> None:
        """A hash or sorted set without entries does not exist."""
        value = self._values.get(key)
        if value is not None and not isinstance(value, bytes) and not len(value):
            self.delete(key)

    def expire(self, key: bytes, left_ms: int) -> bool:
        if self.get(key) is None:
            return False
        self._expiries_ms[key] = self._now_ms() + left_ms
        return True

    def left_ms(self, key: bytes) -> int:
        """-2: no such key; -1: it does not expire."""
        if self.get(key) is None:
            return -2
        return self._expiries_ms[key] - self._now_ms() if key in self._expiries_ms else -1

    def live_keys(self) -> list[bytes]:
        return [key for key in list(self._values) if self.get(key) is not None]

    def clear(self) -> None:
        self._values.clear()
        self._expiries_ms.clear()

    def _drop(self, key: bytes) -> None:
        self._expiries_ms.pop(key, None)
        self._values.pop(key, None)

    def _now_ms(self) -> int:
        return self.now_ns() // 1_000_000
