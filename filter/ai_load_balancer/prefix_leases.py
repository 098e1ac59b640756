"""Leases on the endpoints that know the longest prefix of a prompt: taken by prefix_acquire.lua, the rest as always."""

from collections.abc import Callable
from random import getrandbits

from proxywasm import HttpContext, RedisClient, RootContext

from .leases import LEASE_TTL_MS, WEIGHT, Lease, Leases
from .policies.prefix_blocks import block_keys, prefix_scope
from .policies.request_features import Features
from .scripts import in_flight_keys, prefix_acquire, prefix_key_prefix


class PrefixLeases(Leases):
    """`block_ttl_ms`: how long a block is known after it was last used."""

    def __init__(self, root: RootContext, client: RedisClient, block_ttl_ms: int) -> None:
        super().__init__(root, client, limit=0)
        self._block_ttl_ms = block_ttl_ms

    def ask_for_prefix(
        self,
        context: HttpContext,
        route: bytes,
        cluster: bytes,
        endpoints: tuple[str, ...],
        on_reply: Callable[[object], object],
        features: Features,
        tenant: bytes,
    ) -> Lease:
        """As `ask`, but `on_reply` gets the reply to prefix_acquire.lua."""
        scope = self._scopes.get((route, cluster)) or self._new_scope(route, cluster)
        lease = Lease(f"{self._gateway}-{next(self._numbers)}", scope)
        blocks = block_keys(
            prefix_key_prefix(route, cluster), prefix_scope(route, cluster, features.model, tenant), features.segments
        )
        script = prefix_acquire(len(blocks))
        command: list[str | bytes | int] = [*script.by_sha, *in_flight_keys(route, cluster), *blocks]
        command += (WEIGHT, LEASE_TTL_MS, self.limit, self._block_ttl_ms, lease.id, getrandbits(31), *endpoints)
        self._client.call(context, command, on_reply, on_reply, script)
        return lease
