"""The plugin with one mistake each: the rules of bench/faults must see it."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from host_sim.abi import Target
from host_sim.guest import Environment, HostCalls
from host_sim.native_guest import NativeFactory, NativeGuest

NATIVE = "ai_load_balancer.plugin:AiLoadBalancer"

Load = Callable[[str], ModuleType]


class Spoilt:
    """A guest factory. `mistake` changes the modules of every new VM, which `load` gives it, before they are used."""

    def __init__(self, mistake: Callable[[Load], None]) -> None:
        self._mistake = mistake

    def __call__(self, target: Target, host: HostCalls, environment: Environment) -> NativeGuest:
        guest = NativeFactory(NATIVE)(target, host, environment)
        self._mistake(guest._import.load)
        return guest


def _nothing(*arguments: Any) -> None:
    pass


def no_mistake(load: Load) -> None:
    pass


def forgets_to_give_back(load: Load) -> None:
    load("ai_load_balancer.leases").Leases.give_back = _nothing


def forgets_to_renew(load: Load) -> None:
    load("ai_load_balancer.leases").Leases.renew = _nothing


def forgets_lost_leases(load: Load) -> None:
    """A lease whose reply comes after the request was resumed or is gone is held for ever."""

    def on_reply(self: Any, reply: object) -> None:
        if not self._is_waiting:
            self.driver.leases.hold(self._asked, self.endpoints[0])
        else:
            right(self, reply)

    request = load("ai_load_balancer.drivers.lease_request").LeaseRequest
    right, request._on_reply = request._on_reply, on_reply


def lets_renewals_overtake(load: Load) -> None:
    """A renewal that Redis answers with NOSCRIPT is sent again, behind the release of what it renews."""

    def renew(self: Any, scope: Any, leases: list[Any]) -> None:
        command = [*script.by_sha, *scope.renew[len(script.by_source) :]]
        for lease in leases:
            command += (lease.id, 1, lease.endpoint)
            lease.is_in_redis = True
        self._client.call(self._root, command, script=script)

    module = load("ai_load_balancer.leases")
    script = module.RENEW
    module.Leases._renew = renew


def holds_beyond_the_budget(load: Load) -> None:
    load("ai_load_balancer.redis_rung").RedisRung.on_tick = _nothing


def holds_after_errors(load: Load) -> None:
    def on_reply(self: Any, reply: object) -> None:
        if isinstance(reply, list):
            right(self, reply)
        else:
            self.driver.redis.end_wait(self)

    request = load("ai_load_balancer.drivers.lease_request").LeaseRequest
    right, request._on_reply = request._on_reply, on_reply


def raises(load: Load) -> None:
    def on_done(self: Any) -> None:
        right(self)
        raise ValueError("a mistake")

    request = load("ai_load_balancer.drivers.lease_request").LeaseRequest
    right, request.on_done = request.on_done, on_done


def counts_decisions_twice(load: Load) -> None:
    def rejected_or_sent(self: Any, *arguments: Any) -> bool:
        self.driver.telemetry.decided("local", "routed")
        return bool(right(self, *arguments))

    request = load("ai_load_balancer.drivers.lease_request").LeaseRequest
    right, request._decide_here = request._decide_here, rejected_or_sent


def chooses_the_first(load: Load) -> None:
    def healthy(self: Any, *arguments: Any) -> tuple[str, ...]:
        return tuple(right(self, *arguments)[:1])

    hosts = load("ai_load_balancer.upstream_hosts").UpstreamHosts
    right, hosts.healthy = hosts.healthy, healthy


def asks_for_one_too_many(load: Load) -> None:
    def __init__(self: Any, *arguments: Any) -> None:
        right(self, *arguments)
        self.limit += 1

    driver = load("ai_load_balancer.drivers.least_request").LeastRequestDriver
    right, driver.__init__ = driver.__init__, __init__


def forgets_to_uncount_here(load: Load) -> None:
    load("ai_load_balancer.local_counts").LocalCounts.remove = _nothing
