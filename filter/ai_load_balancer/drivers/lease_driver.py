"""The driver of a policy that counts requests in flight: what its requests share."""

from random import randbytes
from typing import TYPE_CHECKING

from proxywasm import HttpContext, RedisClient, clock

from ..config import LeaseConfig
from ..due import is_due
from ..explanation import Explainer
from ..leases import Leases, Scope
from ..local_counts import LocalCounts
from ..policies.count_board import WORKER_ID_BYTES
from ..policies.handicaps import EndpointHealth
from ..redis_rung import MAX_TICK_PERIOD_MS, RedisRung
from ..scripts import in_flight_keys
from ..telemetry import LOCAL, REDIS, ROUTED, Telemetry
from ..upstream import Upstream
from .driver import bound

if TYPE_CHECKING:
    from ..plugin import AiLoadBalancer
    from .lease_request import LeaseRequest

MAX_PLACES = 1024  # routes and clusters with requests in flight; beyond it, requests go on unbalanced
UPKEEP_INTERVAL_MS = 1_000


class Place:
    """One route and cluster as this worker knows it."""

    __slots__ = ("cluster", "command", "counts", "health", "route", "scope")

    scope: Scope  # of its leases; only with Redis

    def __init__(self, route: bytes, cluster: bytes, counts: LocalCounts, health: EndpointHealth) -> None:
        self.route = route
        self.cluster = cluster
        self.counts = counts
        self.health = health
        self.command: tuple[str | bytes | int, ...] = ()  # the beginning of what requests send, kept by their class


class TooManyPlaces(Exception):
    """MAX_PLACES routes and clusters have requests in flight."""


class LeaseDriver:
    """Requests of `context_class` take their leases here, and the tick looks after them."""

    redis: "RedisRung[LeaseRequest]"  # only if has_redis
    leases: Leases  # only if has_redis

    def __init__(
        self,
        root: "AiLoadBalancer",
        context_class: type[HttpContext],
        telemetry: Telemetry,
        upstream: Upstream,
        config: LeaseConfig,
        explainer: Explainer | None,
        client: RedisClient | None,
    ) -> None:
        self.telemetry = telemetry
        self.routed_by_redis = telemetry.decisions(REDIS, ROUTED)
        self.routed_here = telemetry.decisions(LOCAL, ROUTED)
        self.upstream = upstream
        self.explainer = explainer
        self.lease_ttl_ms = config.lease_ttl_ms
        self.tick_period_ms = MAX_TICK_PERIOD_MS
        self.has_redis = False
        if client is not None and config.redis is not None:
            self.has_redis = True
            self.redis = RedisRung(config.redis.budget_ms)
            self.leases = Leases(root, client, config.lease_ttl_ms)
            self.tick_period_ms = self.redis.tick_period_ms
        self._slow_start_ms = round(config.slow_start_s * 1000)
        self._worker = randbytes(WORKER_ID_BYTES)
        self._places: dict[tuple[bytes, bytes], Place] = {}
        self._health: dict[bytes, EndpointHealth] = {}
        self._upkept_ms = 0
        self.context_class = bound(context_class, self, explainer)

    @property
    def is_idle(self) -> bool:
        if self.has_redis and not self.redis.is_idle:
            return False
        return all(place.counts.is_idle for place in self._places.values())

    def place(self, route_and_cluster: tuple[bytes, bytes]) -> Place:
        """Raises TooManyPlaces."""
        place = self._places.get(route_and_cluster)
        return place if place is not None else self._new_place(*route_and_cluster)

    def on_tick(self) -> None:
        now_ms = clock.now_ns() // 1_000_000
        if self.has_redis:
            self.redis.on_tick(now_ms)
        if not is_due(now_ms, self._upkept_ms, UPKEEP_INTERVAL_MS):
            return
        self._upkept_ms = now_ms
        self.upstream.on_tick(now_ms)
        is_needed = True
        if self.has_redis:
            self.leases.on_tick(now_ms)
            is_needed = not self.redis.is_sound
        for place in self._places.values():
            place.counts.on_tick(now_ms, is_needed)

    def _new_place(self, route: bytes, cluster: bytes) -> Place:
        if len(self._places) >= MAX_PLACES:
            asking = {request.place for request in self.redis.waiting()} if self.has_redis else set()
            self._places = {
                where: place for where, place in self._places.items() if not place.counts.is_idle or place in asking
            }
            self._health = {place.cluster: place.health for place in self._places.values()}
            if len(self._places) >= MAX_PLACES:
                raise TooManyPlaces(f"{MAX_PLACES} routes and clusters have requests in flight")
        health = self._health.get(cluster)
        if health is None:
            health = self._health[cluster] = EndpointHealth(self._slow_start_ms)
        counts = LocalCounts(in_flight_keys(route, cluster)[0], self._worker, self.lease_ttl_ms)
        place = self._places[route, cluster] = Place(route, cluster, counts, health)
        if self.has_redis:
            place.scope = self.leases.scope(route, cluster)
        return place
