"""The driver of prefix_cache with a configuration of its own, so that it runs without the whole filter."""

import json

from ai_load_balancer.drivers.redis_prefix_cache import RedisPrefixCache, RedisPrefixCacheDriver
from ai_load_balancer.upstream_hosts import UpstreamHosts
from proxywasm import RedisClient, RootContext


class PrefixCache(RootContext):
    further_contexts = (RedisPrefixCache,)
    plugin_id = "lb-1"

    def on_configure(self, configuration_size: int) -> bool | None:
        config = json.loads(self.plugin_configuration())
        self.upstream_hosts = UpstreamHosts()
        client = RedisClient(config["redis"])
        client.init()
        self.driver = RedisPrefixCacheDriver(self, client, config["block_ttl_ms"], config["tenant_header"])  # type: ignore[arg-type]
        self.http_context = self.driver.context_class
        self.set_tick_period(20_000)
        return True

    def on_tick(self) -> None:
        self.driver.on_tick()
