"""The plugin: takes the configuration and gives every request the context of the policy."""

import logging

from proxywasm import RedisClient, RedisUnreachable, RootContext, capabilities

from . import config
from .config_reader import ConfigError
from .leases import RENEWAL_INTERVAL_MS, Leases
from .local_counts import LocalCounts
from .local_least_request import LocalLeastRequest
from .log_prefix import root_prefix
from .redis_least_request import RedisLeastRequest
from .upstream_hosts import UpstreamHosts

_logger = logging.getLogger(__name__)


class AiLoadBalancer(RootContext):
    """One per gateway worker and configuration. Until it is configured, requests pass through."""

    further_contexts = (RedisLeastRequest, LocalLeastRequest)

    # Set by the first configuration that is good.
    leases: Leases
    _client: RedisClient

    def __init__(self, context_id: int) -> None:
        super().__init__(context_id)
        self.plugin_id = ""
        self.endpoints: tuple[str, ...] = ()
        self.max_request_count = 0
        self.upstream_hosts = UpstreamHosts()
        self.local_counts = LocalCounts()
        self._redis: config.RedisConfig | None = None

    def on_configure(self, configuration_size: int) -> bool | None:
        """A configuration that cannot be used changes nothing."""
        try:
            new = config.parse(self.plugin_configuration(), capabilities.current().redis)
        except ConfigError as error:
            prefix = root_prefix(self.plugin_id)
            for problem in error.errors:
                _logger.error("%sconfiguration: %s", prefix, problem)
            return False
        self.plugin_id = new.plugin_id
        for warning in new.warnings:
            _logger.warning("%sconfiguration: %s", root_prefix(self.plugin_id), warning)
        self.max_request_count = new.policy.max_request_count
        self.endpoints = new.policy.endpoints
        if new.policy.redis is None:
            self.http_context = LocalLeastRequest
        else:
            self._use_redis(new.policy.redis)
            self.http_context = RedisLeastRequest
        return True

    def on_tick(self) -> None:
        if self._redis is not None:
            self.leases.renew()

    def _use_redis(self, redis: config.RedisConfig) -> None:
        if redis != self._redis:
            self._client = RedisClient(redis.cluster, redis.username, redis.password, redis.timeout_ms, redis.database)
            try:
                self._client.init()
            except RedisUnreachable as error:
                _logger.warning("%sRedis is not ready, requests will try again: %s", root_prefix(self.plugin_id), error)
        if self._redis is None:
            self.leases = Leases(self, self._client, self.max_request_count)
        else:
            self.leases.configure(self._client, self.max_request_count)
        self._redis = redis
        self.set_tick_period(RENEWAL_INTERVAL_MS)
