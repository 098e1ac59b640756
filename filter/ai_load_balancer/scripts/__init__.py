"""The Lua scripts, read at import: in the guest that is when the module is built, and no file is opened later.

Each script's head says what its KEYS and ARGV are; a line `-- include NAME` stands for the text of that file. What is
in flight can be read from outside by `live_counts.lua`:

    redis.execute_command(*LIVE_COUNTS.by_source, *in_flight_keys(b"route", b"outbound|80||llm.dns"))
"""

import re
from functools import cache
from os.path import dirname, join

from proxywasm import RedisScript


def _script(name: str, num_keys: int) -> RedisScript:
    return RedisScript(name, _source(name), num_keys)


def _source(name: str) -> str:
    return _INCLUDE.sub(lambda line: _text(line[1]), _text(f"{name}.lua"))


def _text(file_name: str) -> str:
    with open(join(dirname(__file__), file_name), encoding="utf-8") as file:
        return file.read()


_INCLUDE = re.compile(r"^-- include (\S+)$", re.MULTILINE)

ACQUIRE = _script("acquire", num_keys=3)
ACQUIRE_BOUNDED = _script("acquire_bounded", num_keys=3)
CLUSTER_ACQUIRE = _script("cluster_acquire", num_keys=3)
RELEASE = _script("release", num_keys=3)
RENEW = _script("renew", num_keys=3)
LIVE_COUNTS = _script("live_counts", num_keys=3)
_PREFIX_ACQUIRE = _script("prefix_acquire", num_keys=4)


@cache  # at most one for each number up to prefix_blocks.MAX_BLOCKS
def prefix_acquire(num_blocks: int) -> RedisScript:
    """prefix_acquire.lua for a prompt of so many blocks, at least one."""
    return _PREFIX_ACQUIRE.with_keys(3 + num_blocks)


def in_flight_keys(route: bytes, cluster: bytes) -> tuple[bytes, bytes, bytes]:
    """The first KEYS of all scripts for a route and a cluster: counts, leases, expiries."""
    prefix = _key_prefix(route, cluster)
    return prefix + b"in_flight", prefix + b"leases", prefix + b"lease_expiries"


def prefix_key_prefix(route: bytes, cluster: bytes) -> bytes:
    """What the keys of all blocks for a route and a cluster begin with."""
    return _key_prefix(route, cluster) + b"prefix:"


def _key_prefix(route: bytes, cluster: bytes) -> bytes:
    """The braces make all keys of a script one slot; a brace in a name would end it early, or leave nothing in it."""
    return b"ailb:{%b}:" % b"|".join((route, cluster)).replace(b"}", b")")
