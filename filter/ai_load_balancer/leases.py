"""In-flight counts in Redis as leases.

A lease is one request in flight at one endpoint. It is taken by acquire.lua together with the choice of the endpoint,
renewed by the tick while the request lives, and given back once. A gateway that dies renews nothing, so its leases
expire. The gateway makes a lease's id before it asks for the lease; so it can be given back even if the reply was lost
or cannot be understood, and giving back what is not there does no harm.

A request that was routed without Redis gets its lease from the next renewal, if it lives that long.
"""

import logging
from collections.abc import Callable
from itertools import count
from random import getrandbits

from proxywasm import HttpContext, RedisClient, RedisScript, RedisUnreachable, RootContext
from proxywasm.redis_client import Argument

from .scripts import RELEASE, RENEW, in_flight_keys

LEASE_TTL_MS = 60_000
RENEWALS_PER_TTL = 3  # two may fail before a lease expires
MAX_LEASES_PER_RENEWAL = 256  # per call, so that no script runs long in Redis
MAX_SCOPES = 1024  # remembered at a time
WEIGHT = 1

_logger = logging.getLogger(__name__)


class Scope:
    """One route and cluster: its keys, and the beginnings of the commands about it."""

    __slots__ = ("cluster", "keys", "release", "renew", "route")

    def __init__(self, route: bytes, cluster: bytes, ttl_ms: int) -> None:
        self.route = route
        self.cluster = cluster
        self.keys = in_flight_keys(route, cluster)
        self.release = (*RELEASE.by_sha, *self.keys)
        # By source: sent again after NOSCRIPT, it would arrive after a release and take the lease anew.
        self.renew = (*RENEW.by_source, *self.keys, str(ttl_ms))


class Lease:
    """One lease: asked for while `endpoint` is empty, held once it is known."""

    __slots__ = ("endpoint", "id", "is_in_redis", "scope")

    def __init__(self, lease_id: str, scope: Scope) -> None:
        self.id = lease_id
        self.scope = scope
        self.endpoint = ""
        self.is_in_redis = True  # as far as is known

    def __repr__(self) -> str:
        return f"Lease({self.id!r}, {self.endpoint or 'asked for'})"


class Leases:
    """The leases of one policy configuration, which live for `ttl_ms` unless they are renewed."""

    def __init__(self, root: RootContext, client: RedisClient, ttl_ms: int = LEASE_TTL_MS) -> None:
        self._root = root
        self._client = client
        self._gateway = f"{getrandbits(64):016x}"
        self._numbers = count(1)
        self._held: dict[str, Lease] = {}
        self._scopes: dict[tuple[bytes, bytes], Scope] = {}
        self._next_renewal_ms = 0
        self.ttl_ms = ttl_ms

    @property
    def are_held(self) -> bool:
        return bool(self._held)

    def scope(self, route: bytes, cluster: bytes) -> Scope:
        scope = self._scopes.get((route, cluster))
        if scope is None:
            if len(self._scopes) >= MAX_SCOPES:
                self._scopes.clear()
            scope = self._scopes[route, cluster] = Scope(route, cluster, self.ttl_ms)
        return scope

    def new_lease(self, scope: Scope) -> Lease:
        """A lease that is not asked for yet."""
        return Lease(f"{self._gateway}-{next(self._numbers)}", scope)

    def ask(
        self,
        context: HttpContext,
        script: RedisScript,
        command: tuple[Argument, ...],
        on_reply: Callable[[object], object],
    ) -> None:
        """Sends `command`, which runs `script` and names a new lease.

        `on_reply` gets the reply or a RedisError, also if `context` is gone by then; it must call `hold` or
        `give_back`, unless no lease was granted. Raises RedisUnreachable if Redis could not be asked.
        """
        self._client.call(context, command, on_reply, on_reply, script)

    def hold(self, lease: Lease, endpoint: str) -> None:
        """The lease was granted; it is renewed until it is given back."""
        lease.endpoint = endpoint
        self._held[lease.id] = lease

    def hold_unasked(self, scope: Scope, endpoint: str) -> Lease:
        """A lease for a request that was routed without Redis: the next renewal tells Redis."""
        lease = self.new_lease(scope)
        lease.is_in_redis = False
        self.hold(lease, endpoint)
        return lease

    def give_back(self, lease: Lease) -> None:
        """Ends the lease. If Redis cannot be told, the lease expires there."""
        self._held.pop(lease.id, None)
        if not lease.is_in_redis:
            return
        try:
            self._client.call(self._root, (*lease.scope.release, lease.id), script=RELEASE)
        except RedisUnreachable as error:
            _logger.info("lease %s was not given back, it will expire: %s", lease.id, error)

    def on_tick(self, now_ms: int) -> None:
        """Renews every lease that is held, RENEWALS_PER_TTL times in its life."""
        if now_ms < self._next_renewal_ms:
            return
        if self._next_renewal_ms:
            self.renew()
        self._next_renewal_ms = now_ms + self.ttl_ms // RENEWALS_PER_TTL

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
        command: list[Argument] = [*scope.renew]
        for lease in leases:
            command += (lease.id, WEIGHT, lease.endpoint)
            lease.is_in_redis = True
        self._client.call(self._root, command)
