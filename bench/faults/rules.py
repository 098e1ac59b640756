"""What must hold, while things go wrong and after. The rules look from outside: at Redis, the gateway, the clients."""

from collections import Counter
from collections.abc import Iterable

from ai_load_balancer.scripts import LIVE_COUNTS, in_flight_keys
from proxywasm.enums import LogLevel

from host_sim.memory_redis import MemoryRedis
from host_sim.records import LogRecord
from host_sim.virtual import Request, VirtualSimulator

EXCEPTIONS_METRIC = "proxywasm_exceptions"


class BrokenRule(AssertionError):
    """A rule does not hold."""


def require(holds: bool, rule: str, found: object) -> None:
    if not holds:
        raise BrokenRule(f"{rule}; found: {found}")


class RedisView:
    """The leases in Redis, read as an operator would."""

    def __init__(self, memory: MemoryRedis, route: str, cluster: str) -> None:
        self._session = memory.session()
        self._keys = in_flight_keys(route.encode(), cluster.encode())

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
        require(isinstance(reply, list), "live_counts.lua answers a list", reply)
        assert isinstance(reply, list)
        return {str(endpoint, "utf-8"): count for endpoint, count in zip(reply[::2], reply[1::2], strict=True)}  # type: ignore[arg-type, misc]

    def _list(self, *command: bytes) -> list[bytes]:
        reply = self._session.execute(list(command))
        assert isinstance(reply, list)
        return [item for item in reply if isinstance(item, bytes)]

    def _pairs(self, *command: bytes) -> Iterable[tuple[bytes, bytes]]:
        flat = self._list(*command)
        return zip(flat[::2], flat[1::2], strict=True)


def redis_agrees_with_itself(redis: RedisView) -> None:
    """At any moment: a count is the sum of its leases' weights and above zero, and every lease will expire."""
    counts = redis.stored_counts()
    leases = redis.leases()
    summed: Counter[str] = Counter()
    for held in leases.values():
        weight, _, endpoint = held.decode().partition(" ")
        summed[endpoint] += int(weight)
    require(counts == dict(summed), "every count is the sum of its leases", (counts, summed))
    require(all(count > 0 for count in counts.values()), "no count is zero or negative", counts)
    require(sorted(leases) == sorted(redis.expiries()), "every lease has an expiry and nothing else has", len(leases))


def request_was_served(request: Request, addresses: frozenset[str], held_ms_max: float, held_ms: float | None) -> None:
    """At the end of a request: its client has a whole answer or a reason why not, and nothing held it too long."""
    stream = request.stream
    down = stream.downstream
    if held_ms is not None:
        require(held_ms <= held_ms_max, f"no request is held longer than {held_ms_max} ms", f"{held_ms} ms, {stream!r}")
    if stream.endpoint is not None:
        require(stream.endpoint.address in addresses, "a request goes to an endpoint of its cluster", stream.endpoint)
    if request.client_left:
        return
    if down.ended:
        status = down.headers.get(b":status") if down.headers is not None else None
        require(status is not None, "an answer has a status", stream)
        reply = stream.local_reply
        require(
            reply is None or request.failure is not None or reply.details == "response_timeout",
            "the gateway answers by itself only if the upstream failed",
            reply,
        )
        return
    broke_off = request.failure is not None or "response_timeout" in stream.reset_reason
    require(
        down.headers is not None and broke_off,
        "a response without end broke off at the upstream",
        (stream.reset_reason, request.failure),
    )


def nothing_was_logged_as_an_error(logs: Iterable[LogRecord]) -> None:
    errors = [record for record in logs if record.level >= LogLevel.ERROR]
    require(not errors, "the plugin logs no error", "\n".join(map(str, errors[:5])))


def plugin_raised_nothing(sim: VirtualSimulator) -> None:
    raised = sim.gateway.shared.metrics.values().get(EXCEPTIONS_METRIC, 0)
    require(raised == 0, "no callback of the plugin raised an exception", raised)
    dead = [vm for vm in sim.deployment.vms if vm.is_dead()]
    require(not dead, "every VM lives", dead)


def nothing_is_open(sim: VirtualSimulator) -> None:
    require(not sim.open_requests, "every request has ended", list(sim.open_requests.values())[:5])
    require(not sim.deployment.pending_calls, "no call of the plugin is pending", sim.deployment.pending_calls)
    left = [vm for vm in sim.deployment.vms if len(vm.contexts) != len(vm.roots)]
    require(not left, "no context of a request is left", left)


def nothing_is_renewed(before: int, after: int) -> None:
    """What the plugin renews it holds."""
    require(after == before, "no lease is renewed when nothing is in flight", after - before)


def nothing_is_counted(redis: RedisView) -> None:
    require(redis.live_counts() == {}, "no lease lives when nothing is in flight", redis.live_counts())


def nothing_is_stored(redis: RedisView) -> None:
    left = (redis.stored_counts(), redis.leases(), redis.expiries())
    require(left == ({}, {}, []), "Redis holds nothing when nothing is in flight", left)


def every_request_is_routed_by_redis(requests: Iterable[Request]) -> None:
    others = [request for request in requests if not request.stream.overridden]
    require(not others, "every request is routed by Redis", others[:5])


def counts_are_what_is_in_flight(redis: RedisView, requests: Iterable[Request], addresses: Iterable[str]) -> None:
    """And the requests are spread evenly over all addresses."""
    in_flight = Counter(request.stream.endpoint.address for request in requests if request.stream.endpoint is not None)
    require(
        redis.live_counts() == dict(in_flight), "the counts are what is in flight", (redis.live_counts(), in_flight)
    )
    each = [in_flight[address] for address in addresses]
    require(max(each) - min(each) <= 1, "the requests are spread evenly", in_flight)
