"""What must hold, while things go wrong and after. The rules look from outside: at Redis, the gateway, the clients."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ai_load_balancer.scripts import ACQUIRE
from proxywasm.enums import LogLevel

from host_sim.codec import RespValue
from host_sim.local_reply import LocalReply
from host_sim.records import LogRecord
from host_sim.virtual import Request, VirtualSimulator

from .views import BoardView, RedisView

EXCEPTIONS_METRIC = "proxywasm_exceptions"
DEATH = "the VM is dead: a fault of the run"
_ACQUIRE_COMMANDS = frozenset(str(command[1]).encode() for command in (ACQUIRE.by_sha, ACQUIRE.by_source))


class BrokenRule(AssertionError):
    """A rule does not hold."""


def require(holds: bool, rule: str, found: object) -> None:
    if not holds:
        raise BrokenRule(f"{rule}; found: {found}")


# At any moment


def redis_agrees_with_itself(redis: RedisView) -> None:
    """A count is the sum of its leases' weights and above zero, and every lease will expire."""
    counts = redis.stored_counts()
    leases = redis.leases()
    summed: Counter[str] = Counter()
    for held in leases.values():
        weight, _, endpoint = held.decode().partition(" ")
        summed[endpoint] += int(weight)
    require(counts == dict(summed), "every count is the sum of its leases", (counts, summed))
    require(all(count > 0 for count in counts.values()), "no count is zero or negative", counts)
    require(sorted(leases) == sorted(redis.expiries()), "every lease has an expiry and nothing else has", len(leases))


def limit_is_kept(limit: int, command: list[bytes], reply: RespValue) -> None:
    """Redis grants no lease above the limit, and refuses none below."""
    if len(command) > 1 and command[1] in _ACQUIRE_COMMANDS and isinstance(reply, list):
        position, count = reply[:2]
        assert isinstance(count, int)
        require(count <= limit if position else count >= limit, f"the limit of {limit} is kept", reply)


def nothing_was_logged_as_an_error(logs: Iterable[LogRecord]) -> None:
    errors = [record for record in logs if record.level >= LogLevel.ERROR and record.message != DEATH]
    require(not errors, "the plugin logs no error", "\n".join(map(str, errors[:5])))


def plugin_raised_nothing(sim: VirtualSimulator) -> None:
    raised = sim.gateway.shared.metrics.values().get(EXCEPTIONS_METRIC, 0)
    require(raised == 0, "no callback of the plugin raised an exception", raised)


# At the end of a request


@dataclass(frozen=True, slots=True)
class Excuses:
    """Why the gateway may answer a request itself, although its upstream did not fail.

    refused: there is a limit
    endpoint_left: the chosen endpoint left while the request waited for Redis; Higress insists on the choice
    """

    refused: bool
    endpoint_left: bool

    def cover(self, reply: LocalReply) -> bool:
        if reply.status == 429:
            return self.refused
        return reply.details == "response_timeout" or (reply.details == "no_healthy_upstream" and self.endpoint_left)


def request_was_not_held(held_ms: float, held_ms_max: float, request: Request) -> None:
    require(held_ms <= held_ms_max, f"no request is held longer than {held_ms_max} ms", f"{held_ms} ms, {request!r}")


def request_was_served(request: Request, addresses: frozenset[str], excuses: Excuses) -> None:
    """Its client has a whole answer or a reason why not."""
    stream = request.stream
    down = stream.downstream
    if stream.endpoint is not None:
        require(stream.endpoint.address in addresses, "a request goes to an endpoint of its cluster", stream.endpoint)
    if request.client_left:
        return
    if down.ended:
        status = down.headers.get(b":status") if down.headers is not None else None
        require(status is not None, "an answer has a status", stream)
        reply = stream.local_reply
        require(
            reply is None or request.failure is not None or excuses.cover(reply),
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


# When no request is open


def nothing_is_open(sim: VirtualSimulator) -> None:
    require(not sim.open_requests, "every request has ended", list(sim.open_requests.values())[:5])
    require(not sim.deployment.pending_calls, "no call of the plugin is pending", sim.deployment.pending_calls)
    left = [vm for vm in sim.deployment.vms if not vm.is_dead() and len(vm.contexts) != len(vm.roots)]
    require(not left, "no context of a request is left", left)


def every_request_was_decided_once(decisions: Mapping[str, int], requests: int) -> None:
    found = sum(decisions.values())
    require(found == requests, "one decision is counted for every request", f"{found} of {requests}: {decisions}")


def gauge_is_what_died(in_flight: int, died: int) -> None:
    """What a VM that died had in flight stays in the gauge, which nobody can take down; all else is gone."""
    require(in_flight == died, "the gauge falls back to what died", f"{in_flight}, {died} died")


def nothing_is_renewed(before: int, after: int) -> None:
    """What the plugin renews it holds."""
    require(after == before, "no lease is renewed when nothing is in flight", after - before)


def nothing_is_counted(redis: RedisView, board: BoardView) -> None:
    require(redis.live_counts() == {}, "no lease lives when nothing is in flight", redis.live_counts())
    require(board.counts() == {}, "the gateway counts nothing when nothing is in flight", board.counts())


def nothing_is_stored(redis: RedisView) -> None:
    left = (redis.stored_counts(), redis.leases(), redis.expiries())
    require(left == ({}, {}, []), "Redis holds nothing when nothing is in flight", left)


def memory_is_flat(pages_warm: int, pages: int, growth_max: int) -> None:
    require(pages <= pages_warm + growth_max, "the guest's memory stops growing", f"{pages_warm} -> {pages} pages")


# When all is well


def requests_were_decided(found: Mapping[str, int], expected: Mapping[str, int]) -> None:
    require(found == expected, "every request is decided on the first rung", f"{found}, expected {expected}")


def counts_are_what_is_in_flight(counts: Mapping[str, int], in_flight: Mapping[str, int], most: int) -> None:
    require(counts == dict(in_flight), "the counts are what is in flight", (counts, in_flight))
    require(max(in_flight.values()) <= most, "the requests are spread evenly", in_flight)
