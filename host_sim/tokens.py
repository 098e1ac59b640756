"""Call ids of a VM: the low two bits tell the kind; each kind counts up by itself, in steps of 4, from 4."""

from enum import IntEnum

_COUNT_MAX = 0xFFFF_FFFF >> 2


class CallKind(IntEnum):
    HTTP = 0
    GRPC_CALL = 1
    GRPC_STREAM = 2
    REDIS = 3


class Tokens:
    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = [0, 0, 0, 0]

    def next(self, kind: CallKind) -> int:
        count = self._counts[kind] = self._counts[kind] % _COUNT_MAX + 1
        return (count << 2) | kind


def kind_of(token: int) -> CallKind:
    return CallKind(token & 3)
