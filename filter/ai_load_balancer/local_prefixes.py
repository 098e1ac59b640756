"""Who knows which prefix of a prompt, in the gateway's shared data: prefix_cache without Redis.

The blocks of all prompts share SLOTS values, so the memory is bounded: a block's key chooses its slot, and a slot keeps
the block that was written last. A value is the block's digest, when it expires (s since the epoch, u32) and its owners,
one a line. Keys are chained (policies/prefix_blocks.py), so the end of the known part is found by bisection.
"""

from collections.abc import Sequence
from struct import Struct

from proxywasm import shared_data

from .policies.prefix_cache import record

SLOTS = 16_384  # about 100 bytes each
MAX_WRITTEN = 64  # blocks per request
DIGEST_BYTES = 16

_HEAD = Struct(f"<{DIGEST_BYTES}sI")


class LocalPrefixes:
    """`ttl_s`: how long a block is known after it was last used."""

    def __init__(self, ttl_s: int) -> None:
        self._ttl_s = ttl_s

    def owners(self, blocks: Sequence[bytes], now_ms: int) -> list[Sequence[str]]:
        """The owners of each block of the longest known beginning, as far as bisection finds it.

        `blocks` are keys, which end in their digests; so in `record`. Of the known blocks
        only the last one's owners are looked at; the others are told as empty.
        """
        known, unknown = 0, len(blocks) + 1
        owners: Sequence[str] = ()
        while unknown - known > 1:
            middle = (known + unknown) // 2
            found = self._find(blocks[middle - 1], now_ms)[1]
            if found:
                known, owners = middle, found
            else:
                unknown = middle
        return [*[()] * (known - 1), owners] if known else []

    def record(self, blocks: Sequence[bytes], endpoints: Sequence[str], chosen: str, matched: int, now_ms: int) -> None:
        """The endpoint got the prompt: it owns the blocks after the first `matched`, and the last of those too.

        When half of the first block's time is over, the known ones are written again, so that none expires in use.
        """
        now_s = now_ms // 1000
        start = max(0, matched - 1)
        if start and self._find(blocks[0], now_ms)[0] - now_s <= self._ttl_s // 2:
            start = 0
        for key in blocks[start : start + MAX_WRITTEN]:
            digest = key[-DIGEST_BYTES:]
            owners = record(self._find(key, now_ms)[1], endpoints, chosen)
            value = _HEAD.pack(digest, now_s + self._ttl_s) + "\n".join(owners).encode("utf-8", "surrogateescape")
            shared_data.set(_slot(digest), value)

    def _find(self, key: bytes, now_ms: int) -> tuple[int, Sequence[str]]:
        """When a block expires, s since the epoch, and its owners; (0, none) if it is not known."""
        digest = key[-DIGEST_BYTES:]
        found = shared_data.get(_slot(digest))
        if found is None or len(found[0]) <= _HEAD.size:
            return 0, ()
        value = found[0]
        whose, expires_s = _HEAD.unpack_from(value)
        if whose != digest or expires_s * 1000 <= now_ms:
            return 0, ()
        return expires_s, value[_HEAD.size :].decode("utf-8", "surrogateescape").split("\n")


def _slot(digest: bytes) -> str:
    return f"ailb:prefix:{int.from_bytes(digest[:4], 'little') % SLOTS}"
