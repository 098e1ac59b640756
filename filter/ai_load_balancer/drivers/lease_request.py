"""A request of a policy that counts requests in flight, from rung to rung.

Redis grants a lease together with the choice of the endpoint; the request is held until the reply, and no longer than
its budget. Without Redis, or when it fails, the counts of this gateway decide. If even that is not possible, the
request goes on without a choice of ours. Nothing here fails a request, but the 429 of a limit.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from random import getrandbits
from typing import TYPE_CHECKING

from proxywasm import (
    HostError,
    HttpContext,
    RedisError,
    RedisScript,
    RedisUnreachable,
    clock,
    continue_request,
    send_local_response,
)
from proxywasm.redis_client import Argument

from ..explanation import Explainer, Explanation
from ..leases import Lease
from ..log_prefix import log_prefix
from ..policies.decision import Rejected, Routed
from ..policies.global_least_request import MalformedReply, read_reply
from ..policies.handicaps import NONE, Handicaps, encoded
from ..response_failure import has_failed
from ..telemetry import LOCAL, PROXY, REDIS, REJECTED
from .lease_driver import Place, TooManyPlaces
from .texts import RETRY_AFTER, TOO_MANY_REQUESTS

if TYPE_CHECKING:
    from ..plugin import AiLoadBalancer
    from .lease_driver import LeaseDriver

RANDOM_BITS = 31

_now_ns = clock.now_ns
_logger = logging.getLogger(__name__)


class LeaseRequest(HttpContext):
    """One request. It counts at its endpoint until the stream is done, however that ends.

    A subclass says what is asked of Redis and how to choose without it.
    """

    root: "AiLoadBalancer"
    driver: "LeaseDriver"
    place: Place
    endpoints: tuple[str, ...] = ()
    order: tuple[str, ...] = ()  # the endpoints as Redis is asked for them
    handicaps: Handicaps = NONE
    started_ms = 0
    _started_ns = 0
    _asked: Lease | None = None  # what a reply is awaited for
    _is_waiting = False  # else nobody waits for that reply any longer
    _lease: Lease | None = None
    _endpoint = ""  # where the request counts
    _has_failed = False

    # What a policy is made of

    def prepare(self) -> None:
        """Called once, when endpoints and place are known."""

    def command(self, lease: Lease) -> tuple[RedisScript, tuple[Argument, ...]]:
        """The script that takes a lease, and the whole command."""
        raise NotImplementedError

    def choose(self, in_flight: Sequence[int], random_number: int) -> Routed | Rejected:
        """The choice of this gateway, by counts in the order of `endpoints`."""
        raise NotImplementedError

    def read(self, reply: list[object]) -> None:
        """Takes what the policy's script adds behind {position, count} out of the reply."""

    def chosen_here(self, endpoint: str) -> None:
        """This gateway's choice was carried out."""

    def terms(self) -> dict[str, object]:
        """What the decision was based on, beside the counts."""
        return {}

    # Callbacks

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        return self.driver.upstream.hold_request if self.is_held() else None

    def on_response_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        self._has_failed = has_failed(self)
        return None

    def on_done(self) -> bool | None:
        if self._endpoint:
            self._uncount()
            self.driver.telemetry.in_flight.add(-1)
        elif self._is_waiting:
            self._is_waiting = False
            self.driver.redis.end_wait(self)
            self.driver.telemetry.decided(REDIS, "client_gone")
        return None

    # From rung to rung

    def is_held(self) -> bool:
        """Decides, or asks Redis; True if the request must wait for the reply."""
        driver = self.driver
        upstream = driver.upstream
        try:
            where = upstream.scope()
            if where is None:
                self._give_up("no_route", "the request has no route or no cluster name")
                return False
            self.endpoints = self.order = endpoints = upstream.endpoints(where[1])
            if not endpoints:
                self._give_up("no_healthy_endpoint", "the cluster has no healthy endpoint")
                return False
            self.place = place = driver.place(where)
            self._started_ns = now_ns = _now_ns()
            self.started_ms = now_ms = now_ns // 1_000_000
            self.handicaps = place.health.handicaps(endpoints, now_ms)
            self.prepare()
            if driver.has_redis and self._is_asked(now_ms):
                return True
            self._decide_here(now_ms)
        except (HostError, ValueError) as error:
            self._give_up("host_error", error)
        except TooManyPlaces as error:
            self._give_up("too_many_places", error)
        except Exception:
            upstream.send_anywhere(self)
            raise
        return False

    def _is_asked(self, now_ms: int) -> bool:
        """Asks Redis for a lease, if it is worth it."""
        driver = self.driver
        rung, leases = driver.redis, driver.leases
        if not rung.may_ask(now_ms):
            driver.telemetry.fell_back(REDIS, "breaker_open")
            return False
        lease = leases.new_lease(self.place.scope)
        script, command = self.command(lease)
        try:
            leases.ask(self, script, command, self._on_reply)
        except RedisUnreachable as error:
            rung.failed(now_ms)
            self._fall_back("unreachable", error)
            return False
        self._asked = lease
        self._is_waiting = True
        rung.wait(self, now_ms)
        return True

    def on_budget_spent(self) -> None:
        """The tick resumes the request."""
        self._is_waiting = False
        is_answered = False
        try:
            self._fall_back("slow", "no reply within redis_budget_ms")
            is_answered = self._decide_here(_now_ns() // 1_000_000)
        finally:
            if not is_answered:
                continue_request()

    def _on_reply(self, reply: object) -> None:
        """Runs at most once for each request, and maybe after it is done or was resumed by the tick."""
        driver = self.driver
        lease, self._asked = self._asked, None
        assert lease is not None
        if not self._is_waiting:
            driver.leases.give_back(lease)
            return
        self._is_waiting = False
        driver.redis.end_wait(self)
        is_answered = False
        try:
            is_answered = self._carry_out(reply, lease)
        finally:
            if not is_answered:
                continue_request()
        driver.telemetry.lookup_us.record(max(0, _now_ns() - self._started_ns) // 1000)

    def _carry_out(self, reply: object, lease: Lease) -> bool:
        """Does what Redis decided; if it did not, this gateway does. True if the request was answered with 429."""
        driver = self.driver
        counts: list[int] = []
        try:
            if type(reply) is list:
                self.read(reply)
                if driver.explainer is not None:
                    reply, counts = reply[:2], reply[2:]
            decision = read_reply(reply, self.order)
        except MalformedReply as error:
            self._refuse(reply, error, lease)
            return self._decide_here(_now_ns() // 1_000_000)
        driver.redis.succeeded()
        if isinstance(decision, Rejected):
            return self._reject(REDIS, self.order, counts)
        endpoint = decision[0]
        self._lease = lease
        driver.leases.hold(lease, endpoint)
        self.place.counts.add(endpoint)
        if self._is_sent_to(endpoint):
            driver.routed_by_redis.increment(1)
            if driver.explainer is not None:
                self._explain(driver.explainer, REDIS, "routed", endpoint, self.order, counts)
        return False

    def _refuse(self, reply: object, error: MalformedReply, lease: Lease) -> None:
        """The reply cannot be used; it may have granted the lease nevertheless."""
        driver = self.driver
        driver.redis.failed(_now_ns() // 1_000_000)
        if isinstance(reply, RedisUnreachable):
            self._fall_back("unreachable", reply)
        elif isinstance(reply, RedisError):
            self._fall_back("error", f"Redis answered: {reply}")
        else:
            self._fall_back("error", f"unexpected reply of Redis: {error}")
        driver.leases.give_back(lease)

    def _decide_here(self, now_ms: int) -> bool:
        """Decides by the counts of this gateway. True if the request was answered with 429."""
        driver = self.driver
        random_number = getrandbits(RANDOM_BITS)
        counts: Sequence[int] = ()

        def decide(in_flight: Sequence[int]) -> Routed | Rejected:
            nonlocal counts
            counts = in_flight
            return self.choose(in_flight, random_number)

        try:
            decision = self.place.counts.take(self.endpoints, now_ms, decide)
        except HostError as error:
            self._give_up("host_error", error)
            return False
        if isinstance(decision, Rejected):
            return self._reject(LOCAL, self.endpoints, counts)
        endpoint = decision[0]
        if driver.has_redis:
            self._lease = driver.leases.hold_unasked(self.place.scope, endpoint)
        if self._is_sent_to(endpoint):
            driver.routed_here.increment(1)
            with suppress(HostError):  # it is routed, whether or not the gateway remembers it
                self.chosen_here(endpoint)
            if driver.explainer is not None:
                self._explain(driver.explainer, LOCAL, "routed", endpoint, self.endpoints, counts)
        return False

    def _is_sent_to(self, endpoint: str) -> bool:
        """Names the endpoint, where the request counts, to the proxy. If it refuses, the request counts no more."""
        driver = self.driver
        self._endpoint = endpoint
        try:
            driver.upstream.send_to(self, endpoint)
        except HostError as error:
            self._uncount()
            self._give_up("override_refused", error)
            return False
        driver.telemetry.in_flight.add(1)
        return True

    def _reject(self, rung: str, names: Sequence[str], counts: Sequence[int]) -> bool:
        driver = self.driver
        driver.telemetry.decided(rung, REJECTED)
        if driver.explainer is not None:
            self._explain(driver.explainer, rung, REJECTED, "", names, counts)
        send_local_response(429, TOO_MANY_REQUESTS, RETRY_AFTER)
        return True

    def _uncount(self) -> None:
        """The request counts no more, neither here nor in Redis."""
        place = self.place
        endpoint, self._endpoint = self._endpoint, ""
        if self._lease is not None:
            self.driver.leases.give_back(self._lease)
            self._lease = None
        place.counts.remove(endpoint)
        if self._has_failed:
            place.health.fail(endpoint, self.started_ms)

    def _fall_back(self, reason: str, detail: object) -> None:
        self.driver.telemetry.fell_back(REDIS, reason)
        _logger.warning("%s%s; this gateway's counts decide", log_prefix(self), detail)

    def _give_up(self, outcome: str, reason: object) -> None:
        driver = self.driver
        driver.upstream.send_anywhere(self)
        driver.telemetry.decided(PROXY, outcome)
        if driver.explainer is not None:
            self._explain(driver.explainer, PROXY, outcome, "", (), ())
        _logger.warning("%s%s; the proxy's own balancing chooses", log_prefix(self), reason)

    def _explain(
        self,
        explainer: Explainer,
        rung: str,
        outcome: str,
        chosen: str,
        names: Sequence[str],
        counts: Sequence[int],
    ) -> None:
        """`counts` are those of `names`, empty if they are not known."""
        candidates: dict[str, dict[str, float]] = {}
        for endpoint, count in zip(names, counts, strict=False):
            candidates[endpoint] = {"in_flight": count}
            if endpoint in self.handicaps:
                candidates[endpoint] |= self.handicaps[endpoint]._asdict()
        explainer.explain(self, Explanation(rung, outcome, chosen, self.terms(), candidates))


def detail_argument(explainer: Explainer | None) -> str:
    """What tells a script whether the reply is to hold all counts."""
    return "1" if explainer is not None and explainer.to_log else "0"


def handicaps_argument(request: LeaseRequest) -> str:
    return encoded(request.order, request.handicaps) if request.handicaps else ""
