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

from proxywasm import HttpContext, RedisClient, RedisError, RedisUnreachable, RootContext

from .scripts import ACQUIRE, RELEASE, RENEW, in_flight_keys

LEASE_TTL_MS = 60_000
RENEWAL_INTERVAL_MS = LEASE_TTL_MS // 3  # two renewals may fail before a lease expires
MAX_LEASES_PER_RENEWAL = 256  # per call, so that no script runs long in Redis
MAX_ROUTES = 1024  # whose keys are remembered at a time
WEIGHT = 1

Keys = tuple[bytes, bytes, bytes]
Callback = Callable[[object], object]

_logger = logging.getLogger(__name__)


class Lease:
    """One lease: asked for while `endpoint` is empty, held once it is known."""

    __slots__ = ("endpoint", "id", "keys")

    def __init__(self, lease_id: str, keys: Keys) -> None:
        self.id = lease_id
        self.keys = keys
        self.endpoint = ""

    def __repr__(self) -> str:
        return f"Lease({self.id!r}, {self.endpoint or 'asked for'})"


class Leases:
    """All leases of one root context. They outlive a new configuration, which replaces `client` and `limit`.

    `limit` is the highest count that an endpoint may reach; 0 for no limit.
    """

    def __init__(self, root: RootContext, client: RedisClient, limit: int) -> None:
        self.client = client
        self.limit = limit
        self._root = root
        self._gateway = f"{getrandbits(64):016x}"
        self._numbers = count(1)
        self._held: dict[str, Lease] = {}
        self._keys: dict[tuple[bytes, bytes], Keys] = {}

    def ask(
        self, context: HttpContext, route: bytes, cluster: bytes, endpoints: tuple[str, ...], on_reply: Callback
    ) -> Lease:
        """Asks for a lease on the best of `endpoints`.

        `on_reply` gets the reply to acquire.lua or a RedisError, also if `context` is gone by then; it must call `hold`
        or `give_back`. Raises RedisUnreachable if Redis could not be asked.
        """
        keys = self._keys.get((route, cluster)) or self._remember_keys(route, cluster)
        lease = Lease(f"{self._gateway}-{next(self._numbers)}", keys)
        arguments: tuple[str | bytes | int, ...]
        arguments = (*keys, lease.id, WEIGHT, LEASE_TTL_MS, self.limit, getrandbits(31), *endpoints)
        self.client.call_script(context, ACQUIRE, arguments, on_reply, on_reply)
        return lease

    def hold(self, lease: Lease, endpoint: str) -> None:
        """The lease was granted; it is renewed until it is given back."""
        lease.endpoint = endpoint
        self._held[lease.id] = lease

    def give_back(self, lease: Lease) -> None:
        """Ends the lease. If Redis cannot be told, the lease expires there."""
        self._held.pop(lease.id, None)
        try:
            self.client.call_script(self._root, RELEASE, (*lease.keys, lease.id), self._on_given_back)
        except RedisUnreachable as error:
            _logger.info("lease %s expires by itself, it could not be given back: %s", lease.id, error)

    def renew(self) -> None:
        """Renews every lease that is held, in few calls."""
        by_keys: dict[Keys, list[Lease]] = {}
        for lease in self._held.values():
            by_keys.setdefault(lease.keys, []).append(lease)
        try:
            for keys, leases in by_keys.items():
                for start in range(0, len(leases), MAX_LEASES_PER_RENEWAL):
                    self._renew(keys, leases[start : start + MAX_LEASES_PER_RENEWAL])
        except RedisUnreachable as error:
            _logger.warning("%d leases were not renewed: %s", len(self._held), error)

    def _renew(self, keys: Keys, leases: list[Lease]) -> None:
        arguments: list[str | bytes | int] = [*keys, LEASE_TTL_MS]
        for lease in leases:
            arguments += (lease.id, WEIGHT, lease.endpoint)
        self.client.call_script(self._root, RENEW, arguments, self._on_renewed)

    def _remember_keys(self, route: bytes, cluster: bytes) -> Keys:
        if len(self._keys) >= MAX_ROUTES:
            self._keys.clear()
        keys = self._keys[route, cluster] = in_flight_keys(route, cluster)
        return keys

    def _on_given_back(self, reply: object) -> None:
        if isinstance(reply, RedisError):
            _logger.info("a lease expires by itself, it could not be given back: %s", reply)

    def _on_renewed(self, reply: object) -> None:
        if isinstance(reply, RedisError):
            _logger.warning("leases were not renewed: %s", reply)
