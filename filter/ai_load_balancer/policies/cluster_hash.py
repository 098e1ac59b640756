"""cluster_hash: the cluster in whose share of the hash space a header's value falls; the same value, the same cluster.

The hash is FNV-1a 32 modulo 100, as in the reference, so that sessions stay where they are when it is replaced.
"""

from collections.abc import Iterable

HASH_HEADER_REQUIRED = "hash header required"  # the body of the local 403
MAX_REMEMBERED = 1024  # values at a time
MAX_REMEMBERED_CHARACTERS = 128  # longer values are hashed every time

_OFFSET_BASIS = 2166136261
_PRIME = 16777619
_SLOTS = 100


def fnv1a_32(data: bytes) -> int:
    """http://www.isthe.com/chongo/tech/comp/fnv/"""
    value = _OFFSET_BASIS
    for byte in data:
        value = (value ^ byte) * _PRIME & 0xFFFFFFFF
    return value


def slot(value: str) -> int:
    """Where in the hash space, 0..99, a header's value falls."""
    return fnv1a_32(value.encode("utf-8", "surrogateescape")) % _SLOTS


class ClusterHash:
    """Decides among clusters with weights, which are whole numbers above 0 and sum to 100."""

    def __init__(self, clusters: Iterable[tuple[str, int]]) -> None:
        self._slots = tuple([cluster for cluster, weight in clusters for _ in range(weight)])
        if len(self._slots) != _SLOTS:
            raise ValueError(f"the weights must sum to {_SLOTS}, found {len(self._slots)}")
        self._remembered: dict[str, str] = {}

    def choose(self, value: str | None) -> str | None:
        """The cluster for the header's value; None, to be answered with 403, if it is missing or empty."""
        if not value:
            return None
        cluster = self._remembered.get(value)
        if cluster is None:
            cluster = self._slots[slot(value)]
            if len(value) <= MAX_REMEMBERED_CHARACTERS:
                if len(self._remembered) >= MAX_REMEMBERED:
                    self._remembered.clear()
                self._remembered[value] = cluster
        return cluster
