"""What the run with faults looks at from outside: the leases in Redis, the gateway's own counts, its metrics."""

from collections import Counter
from collections.abc import Iterable

from ai_load_balancer.policies.endpoint_board import living
from ai_load_balancer.scripts import LIVE_COUNTS

from host_sim.gateway import Gateway
from host_sim.memory_redis import MemoryRedis

VM_ID = b"vm"  # the default of a plugin


class RedisView:
    """The leases in Redis, read as an operator would. `keys`: of counts, leases, expiries."""

    def __init__(self, memory: MemoryRedis, keys: tuple[bytes, bytes, bytes]) -> None:
        self._session = memory.session()
        self._keys = keys

    def stored_counts(self) -> dict[str, int]:
        """With leases that have expired and were not dropped yet."""
        return {endpoint.decode(): int(count) for endpoint, count in self._pairs(b"HGETALL", self._keys[0])}

    def leases(self) -> dict[bytes, bytes]:
        """{lease id: "<weight> <endpoint>"}"""
        return dict(self._pairs(b"HGETALL", self._keys[1]))

    def expiries(self) -> list[bytes]:
        """The lease ids that will expire."""
        return self._list(b"ZRANGE", self._keys[2], b"0", b"-1")

    def live_counts(self) -> dict[str, int]:
        command = [part if isinstance(part, bytes) else str(part).encode() for part in LIVE_COUNTS.by_source]
        reply = self._session.execute([*command, *self._keys])
        assert isinstance(reply, list), reply
        return {str(endpoint, "utf-8"): count for endpoint, count in zip(reply[::2], reply[1::2], strict=True)}  # type: ignore[arg-type, misc]

    def _list(self, *command: bytes) -> list[bytes]:
        reply = self._session.execute(list(command))
        assert isinstance(reply, list)
        return [item for item in reply if isinstance(item, bytes)]

    def _pairs(self, *command: bytes) -> Iterable[tuple[bytes, bytes]]:
        flat = self._list(*command)
        return zip(flat[::2], flat[1::2], strict=True)


class BoardView:
    """The gateway's own counts under `key`."""

    def __init__(self, gateway: Gateway, key: bytes) -> None:
        self._gateway = gateway
        self._key = key

    def counts(self) -> dict[str, int]:
        """Without zeros; empty if there is no board."""
        value = self._gateway.shared.data.items(VM_ID).get(self._key)
        now_ms = self._gateway.scheduler.realtime_ns() // 1_000_000
        found: Counter[str] = Counter()
        for _, _, counts in living(value, now_ms):
            found.update(counts)
        return {endpoint: count for endpoint, count in found.items() if count}


def decisions(gateway: Gateway) -> Counter[str]:
    """{"redis routed": 17, ...}"""
    found: Counter[str] = Counter()
    for name, value in gateway.shared.metrics.values().items():
        if name.startswith("ailb_decisions_total."):
            _, _, rung, _, outcome = name.split(".")[2:]
            found[f"{rung} {outcome}"] += value
    return found


def counted_in_flight(gateway: Gateway) -> int:
    """What the gauges of the policies say."""
    values = gateway.shared.metrics.values()
    return sum(value for name, value in values.items() if name.startswith("ailb_in_flight."))
