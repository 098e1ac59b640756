"""The Lua scripts, read at import: in the guest that is when the module is built, and no file is opened later.

Each script's head says what its KEYS and ARGV are; a line `-- include NAME` stands for the text of that file. What is
in flight can be read from outside by `live_counts.lua`:

    redis.execute_command(*LIVE_COUNTS.by_source, *in_flight_keys(b"route", b"outbound|80||llm.dns"))
"""

import re
from os.path import dirname, join

from proxywasm import RedisScript


def _script(name: str, num_keys: int) -> RedisScript:
    return RedisScript(name, _INCLUDE.sub(lambda line: _text(line[1]), _text(f"{name}.lua")), num_keys)


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


def in_flight_keys(route: bytes, cluster: bytes) -> tuple[bytes, bytes, bytes]:
    """KEYS of all scripts above for a route and a cluster: counts, leases, expiries. The braces make it one slot."""
    prefix = b"ailb:{%b|%b}:" % (route, cluster)
    return prefix + b"in_flight", prefix + b"leases", prefix + b"lease_expiries"
