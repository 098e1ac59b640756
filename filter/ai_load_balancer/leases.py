"""In-flight counts in Redis as leases.

A lease is one request in flight at one endpoint. It is taken by acquire.lua together with the choice of the endpoint,
renewed by the tick while the request lives, and given back once. A gateway that dies renews nothing, so its leases
expire. The gateway makes a lease's id before it asks for the lease; so it can be given back even if the reply was lost
or cannot be understood, and giving back what is not there does no harm.
"""

import logging
from collections.abc import Callable
from itertools import count
from random import getrandbits

from proxywasm import HttpContext, RedisClient, RedisUnreachable, RootContext

from .scripts import ACQUIRE, RELEASE, RENEW, in_flight_keys

LEASE_TTL_MS = 60_000
RENEWAL_INTERVAL_MS = LEASE_TTL_MS // 3  # two renewals may fail before a lease expires
MAX_LEASES_PER_RENEWAL = 256  # per call, so that no script runs long in Redis
MAX_SCOPES = 1024  # remembered at a time
WEIGHT = 1

_logger = logging.getLogger(__name__)


class Scope:
    """One route and cluster: the beginnings of the commands about it, up to what differs from call to call."""

    __slots__ = ("acquire", "release", "renew")

    def __init__(self, route: bytes, cluster: bytes, limit: int) -> None:
        keys = in_flight_keys(route, cluster)
        self.acquire = (*ACQUIRE.by_sha, *keys, str(WEIGHT), str(LEASE_TTL_MS), str(limit))
        self.release = (*RELEASE.by_sha, *keys)
        self.renew = (*RENEW.by_sha, *keys, str(LEASE_TTL_MS))


class Lease:
    """One lease: asked for while `endpoint` is empty, held once it is known."""

    __slots__ = ("endpoint", "id", "scope")

    def __init__(self, lease_id: str, scope: Scope) -> None:
        self.id = lease_id
        self.scope = scope
        self.endpoint = ""

    def __repr__(self) -> str:
        return f"Lease({self.id!r}, {self.endpoint or 'asked for'})"


class Leases:
    """The leases of one policy configuration. `limit` is the highest count that an endpoint may reach; 0: no limit."""

    def __init__(self, root: RootContext, client: RedisClient, limit: int) -> None:
        self._root = root
        self._gateway = f"{getrandbits(64):016x}"
        self._numbers = count(1)
        self._held: dict[str, Lease] = {}
        self._client = client
        self.limit = limit
        self._scopes: dict[tuple[bytes, bytes], Scope] = {}

    @property
    def are_held(self) -> bool:
        return bool(self._held)

    def ask(
        self,
        context: HttpContext,
        route: bytes,
        cluster: bytes,
        endpoints: tuple[str, ...],
        on_reply: Callable[[object], object],
    ) -> Lease:
        """Asks for a lease on the best of `endpoints`.

        `on_reply` gets the reply to acquire.lua or a RedisError, also if `context` is gone by then; it must call `hold`
        or `give_back`, unless no lease was granted. Raises RedisUnreachable if Redis could not be asked.
        """
        scope = self._scopes.get((route, cluster)) or self._new_scope(route, cluster)
        lease = Lease(f"{self._gateway}-{next(self._numbers)}", scope)
        command = (*scope.acquire, lease.id, getrandbits(31), *endpoints)
        self._client.call(context, command, on_reply, on_reply, ACQUIRE)
        return lease

    def hold(self, lease: Lease, endpoint: str) -> None:
        """The lease was granted; it is renewed until it is given back."""
        lease.endpoint = endpoint
        self._held[lease.id] = lease

    def give_back(self, lease: Lease) -> None:
        """Ends the lease. If Redis cannot be told, the lease expires there."""
        self._held.pop(lease.id, None)
        try:
            self._client.call(self._root, (*lease.scope.release, lease.id), script=RELEASE)
        except RedisUnreachable as error:
            _logger.info("lease %s was not given back, it will expire: %s", lease.id, error)

    def renew(self) -> None:
        """Renews every lease that is held, in few calls."""
        by_scope: dict[Scope, list[Lease]] = {}
        for lease in self._held.values():
            by_scope.setdefault(lease.scope, []).append(lease)
        try:
            for scope, leases in by_scope.items():
                for start in range(0, len(leases), MAX_LEASES_PER_RENEWAL):
                    self._renew(scope, leases[start : start + MAX_LEASES_PER_RENEWAL])
        except RedisUnreachable as error:
            _logger.warning("%d leases were not renewed: %s", len(self._held), error)

    def _renew(self, scope: Scope, leases: list[Lease]) -> None:
        command: list[str | bytes | int] = [*scope.renew]
        for lease in leases:
            command += (lease.id, WEIGHT, lease.endpoint)
        self._client.call(self._root, command, script=RENEW)

    def _new_scope(self, route: bytes, cluster: bytes) -> Scope:
        if len(self._scopes) >= MAX_SCOPES:
            self._scopes.clear()
        scope = self._scopes[route, cluster] = Scope(route, cluster, self.limit)
        return scope
