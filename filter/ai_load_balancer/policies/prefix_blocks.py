"""The keys of a prompt's prefixes.

A prompt is a sequence of segments; a long segment is cut into blocks of BLOCK_BYTES. The key of a block is a hash of
everything from the prompt's start to the block's end, so two prompts have as many keys in common as they have equal
blocks at their start, and a key that is known says that all before it is equal, too. The hash begins with what keeps
prompts apart: route, cluster, model, tenant. Gateways of any build make the same keys. No prompt can be read from them.
"""

from collections.abc import Iterable

try:  # hashlib would bring every other hash into the module
    from _md5 import md5  # type: ignore[import-not-found]
except ImportError:
    from hashlib import md5

BLOCK_BYTES = 4096  # about 1,000 tokens
MAX_BLOCKS = 512  # of a request; what follows is not looked at


def prefix_scope(route: bytes, cluster: bytes, model: bytes, tenant: bytes = b"") -> bytes:
    """What the hash begins with. Different arguments give different bytes."""
    parts = (route, cluster, model, tenant)
    return b"".join([b"%d:%b" % (len(part), part) for part in parts])


def block_keys(key_prefix: bytes, scope: bytes, segments: Iterable[bytes]) -> list[bytes]:
    """The key of every block, from the prompt's start on: `key_prefix` and 16 bytes; at most MAX_BLOCKS keys."""
    prefix = md5(scope, usedforsecurity=False)
    update, digest = prefix.update, prefix.digest
    keys: list[bytes] = []
    for segment in segments:
        if len(segment) <= BLOCK_BYTES:
            update(segment)
            keys.append(key_prefix + digest())
        else:
            for start in range(0, len(segment), BLOCK_BYTES):
                update(segment[start : start + BLOCK_BYTES])
                keys.append(key_prefix + digest())
                if len(keys) >= MAX_BLOCKS:
                    break
        if len(keys) >= MAX_BLOCKS:
            break
    return keys
