"""endpoint_hash on a gateway with Redis: global_least_request, where a header's value prefers some endpoints to others.

A request without the header is decided by the counts alone; both kinds count in the same leases.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from proxywasm import HttpContext, RedisClient, RootContext

from ..leases import LEASE_TTL_MS, MAX_SCOPES, WEIGHT, Lease, Leases, Scope
from ..policies.endpoint_hash import EndpointHash
from ..scripts import ACQUIRE_BOUNDED, in_flight_keys
from .lease_driver import LeaseDriver
from .redis_least_request import RedisLeastRequest

if TYPE_CHECKING:
    from ..plugin import AiLoadBalancer


class RedisEndpointHash(RedisLeastRequest):
    """One request. `order` are the endpoints as its session prefers them; empty without a session."""

    order: tuple[str, ...] = ()

    def _on_reply(self, reply: object) -> None:
        if self.order:
            self._endpoints = self.order  # the reply counts positions in what was asked
        super()._on_reply(reply)


class SessionLeases(Leases):
    """Leases for requests of RedisEndpointHash. `load_factor`: the bound, as a multiple of the mean count."""

    def __init__(self, root: RootContext, client: RedisClient, hash_header: str, load_factor: float) -> None:
        super().__init__(root, client, limit=0)
        self._hash_header = hash_header
        self._load_factor = str(load_factor)
        self._policy = EndpointHash()
        self._beginnings: dict[Scope, tuple[str | bytes | int, ...]] = {}

    def ask(
        self,
        context: HttpContext,
        route: bytes,
        cluster: bytes,
        endpoints: tuple[str, ...],
        on_reply: Callable[[object], object],
    ) -> Lease:
        assert isinstance(context, RedisEndpointHash)
        session = context.request_headers.get(self._hash_header)
        if not session:
            return super().ask(context, route, cluster, endpoints, on_reply)
        context.order = order = self._policy.order(endpoints, session)
        scope = self._scopes.get((route, cluster)) or self._new_scope(route, cluster)
        lease = Lease(f"{self._gateway}-{next(self._numbers)}", scope)
        beginning = self._beginnings.get(scope) or self._new_beginning(scope, route, cluster)
        self._client.call(context, (*beginning, lease.id, *order), on_reply, on_reply, ACQUIRE_BOUNDED)
        return lease

    def _new_beginning(self, scope: Scope, route: bytes, cluster: bytes) -> tuple[str | bytes | int, ...]:
        """The command up to what differs from call to call."""
        if len(self._beginnings) >= MAX_SCOPES:
            self._beginnings.clear()
        keys = in_flight_keys(route, cluster)
        beginning = (*ACQUIRE_BOUNDED.by_sha, *keys, str(WEIGHT), str(LEASE_TTL_MS), self._load_factor)
        self._beginnings[scope] = beginning
        return beginning


class RedisEndpointHashDriver(LeaseDriver[SessionLeases]):
    """`hash_header` names the session; `load_factor` is at least 1."""

    def __init__(self, root: "AiLoadBalancer", client: RedisClient, hash_header: str, load_factor: float) -> None:
        super().__init__(SessionLeases(root, client, hash_header, load_factor), RedisEndpointHash)
