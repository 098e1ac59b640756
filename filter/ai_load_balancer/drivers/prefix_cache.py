"""prefix_cache at work: the prompt decides if somebody knows how it begins.

A request whose body cannot be read, or tells nothing about a prompt, is decided by the counts alone.
"""

from collections.abc import Sequence
from random import getrandbits
from typing import TYPE_CHECKING

from proxywasm import RedisClient, RedisScript
from proxywasm.redis_client import Argument

from ..config import PrefixCacheConfig
from ..explanation import Explainer
from ..leases import WEIGHT, Lease
from ..local_prefixes import LocalPrefixes
from ..policies import global_least_request, prefix_cache
from ..policies.decision import Rejected, Routed
from ..policies.prefix_blocks import block_keys, prefix_scope
from ..policies.request_features import read
from ..readable_body import has_readable_body
from ..scripts import ACQUIRE, prefix_acquire, prefix_key_prefix
from ..telemetry import Telemetry
from ..upstream import Upstream
from .body_request import BodyRequest, BodyWait
from .lease_driver import LeaseDriver
from .lease_request import RANDOM_BITS, LeaseRequest, detail_argument, handicaps_argument

if TYPE_CHECKING:
    from ..plugin import AiLoadBalancer

_TELEMETRY = Telemetry("prefix_cache")


class PrefixCache(BodyRequest, LeaseRequest):
    """One request. It is decided when its body is complete."""

    driver: "PrefixCacheDriver"
    keys: Sequence[bytes] = ()  # of the prompt's blocks
    matched_blocks = 0
    _has_body = False

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        if not end_of_stream:
            if has_readable_body(self):
                return self.await_body()
            self.want_no_more("on_request_body", "on_request_trailers")
        return super().on_request_headers(num_headers, end_of_stream)

    def is_held_with(self, has_body: bool) -> bool:
        self._has_body = has_body
        return self.is_held()

    def prepare(self) -> None:
        if not self._has_body:
            return
        features = read(self.request_body.get() or b"")
        if features is None:
            return
        driver, place = self.driver, self.place
        tenant = b""
        if driver.tenant_header:
            tenant = (self.request_headers.get(driver.tenant_header) or "").encode("utf-8", "surrogateescape")
        scope = prefix_scope(place.route, place.cluster, features.model, tenant)
        self.keys = block_keys(driver.key_prefix(place.route, place.cluster), scope, features.segments)

    def command(self, lease: Lease) -> tuple[RedisScript, tuple[Argument, ...]]:
        driver = self.driver
        scope = self.place.scope
        random_number = getrandbits(RANDOM_BITS)
        options = (WEIGHT, driver.lease_ttl_ms, 0, driver.detail)
        if not self.keys:
            handicaps = handicaps_argument(self)
            return ACQUIRE, (*ACQUIRE.by_sha, *scope.keys, *options, handicaps, lease.id, random_number, *self.order)
        script = prefix_acquire(len(self.keys))
        request = (driver.block_ttl_ms, handicaps_argument(self), lease.id, random_number)
        return script, (*script.by_sha, *scope.keys, *self.keys, *options, *request, *self.order)

    def read(self, reply: list[object]) -> None:
        if self.keys and len(reply) > 2:
            matched = reply.pop(2)
            self.matched_blocks = matched if type(matched) is int else 0

    def choose(self, in_flight: Sequence[int], random_number: int) -> Routed | Rejected:
        if not self.keys:
            return global_least_request.choose(self.endpoints, in_flight, 0, random_number, self.handicaps)
        owners = self.driver.prefixes.owners(self.keys, self.started_ms)
        decision = prefix_cache.choose(owners, self.endpoints, in_flight, 0, random_number, self.handicaps)
        if isinstance(decision, Rejected):
            return decision
        self.matched_blocks = decision.matched_blocks
        return Routed(decision.endpoint, decision.in_flight)

    def chosen_here(self, endpoint: str) -> None:
        if self.keys:
            self.driver.prefixes.record(self.keys, self.endpoints, endpoint, self.matched_blocks, self.started_ms)

    def terms(self) -> dict[str, object]:
        return {"matched_blocks": self.matched_blocks, "blocks": len(self.keys)}


class PrefixCacheDriver(LeaseDriver):
    """`block_ttl_ms`: how long a prefix is known; `tenant_header` names who shares prefixes, "" for all."""

    def __init__(
        self,
        root: "AiLoadBalancer",
        upstream: Upstream,
        config: PrefixCacheConfig,
        explainer: Explainer | None,
        client: RedisClient | None,
    ) -> None:
        super().__init__(root, PrefixCache, _TELEMETRY, upstream, config, explainer, client)
        self.block_ttl_ms = config.ttl_s * 1000
        self.tenant_header = config.tenant_header
        self.detail = detail_argument(explainer)
        self.prefixes = LocalPrefixes(config.ttl_s)
        self.key_prefix = prefix_key_prefix
        self.bodies = BodyWait()

    @property
    def is_idle(self) -> bool:
        return self.bodies.is_idle and super().is_idle

    def on_tick(self) -> None:
        super().on_tick()
        self.bodies.on_tick()
