"""Runs the commands in a server and asks it how long they took (INFO commandstats).

The time of EVALSHA is that of the whole script; what it calls is counted under its own name once more, so nothing but
EVALSHA is read. The server truncates each call to whole microseconds.
"""

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from .captured import Lease, Source
from .cases import Case, cases

HELD_PER_ENDPOINT = 4  # leases in flight while others come and go


@dataclass(frozen=True, slots=True)
class Effort:
    """The best of so many rounds counts, each of so many leases: other work on the machine only adds."""

    rounds: int
    leases: int


MANY = Effort(rounds=9, leases=200)
FEW = Effort(rounds=1, leases=5)


@dataclass(frozen=True, slots=True)
class ServerTime:
    """Microseconds in the server, per lease, in the best round."""

    name: str
    us: float
    go_us: float | None

    @property
    def ratio(self) -> float | None:
        """Of what the Go plugin's script takes."""
        return self.us / self.go_us if self.go_us else None


def server_times(client: "redis.Redis", patterns: Sequence[str] = (), effort: Effort = MANY) -> Iterator[ServerTime]:
    """The times of all cases, or of those whose name is like one of the patterns. Empties the server's database.

    Raises RuntimeError if a script did not take a lease, and redis.RedisError.
    """
    for case in cases():
        if not patterns or any(fnmatch.fnmatchcase(case.name, pattern) for pattern in patterns):
            yield ServerTime(case.name, round(_measure(client, case, effort), 1), case.go_us)


def _measure(client: "redis.Redis", case: Case, effort: Effort) -> float:
    source = Source(case)
    try:
        client.flushdb()
        for script in source.scripts:
            client.script_load(script)
        _run(client, [lease.acquire for lease in source.leases(HELD_PER_ENDPOINT * case.endpoints)])
        return min(_round(client, case, source.leases(effort.leases)) for _ in range(effort.rounds))
    finally:
        source.close()


def _round(client: "redis.Redis", case: Case, leases: Sequence[Lease]) -> float:
    client.config_resetstat()
    if case.with_release:
        _run(client, [command for lease in leases for command in lease])
        return _spent_us(client, len(leases) * 2) / len(leases)
    _run(client, [lease.acquire for lease in leases])
    spent_us = _spent_us(client, len(leases))
    _run(client, [lease.release for lease in leases])
    return spent_us / len(leases)


def _run(client: "redis.Redis", commands: Sequence[Sequence[bytes]]) -> None:
    with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
        replies = pipeline.execute()
    refused = [reply for reply in replies if (reply[0] if isinstance(reply, list) else reply) == 0]
    if refused:
        raise RuntimeError(f"{len(refused)} of {len(replies)} scripts refused, the first one with {refused[0]!r}")


def _spent_us(client: "redis.Redis", calls: int) -> int:
    stats: Any = client.info("commandstats")
    if stats["cmdstat_evalsha"]["calls"] != calls:
        raise RuntimeError(f"{calls} scripts were sent, the server ran {stats['cmdstat_evalsha']['calls']}")
    return int(stats["cmdstat_evalsha"]["usec"])
