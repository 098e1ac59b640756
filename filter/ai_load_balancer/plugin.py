"""The plugin: takes the configuration and gives every request the context of the policy that applies to it."""

import logging

from proxywasm import RedisClient, RedisUnreachable, RootContext, capabilities

from .config import Config, ConfigError, Connection, RedisConfig, Request, parse
from .drivers import CONTEXT_CLASSES, Driver, make_driver
from .log_prefix import root_prefix
from .rule_context import RuleContext
from .upstream import HigressUpstream

MAX_RETIRING_DRIVERS = 64  # beyond it, the oldest is let go, and its leases expire

_logger = logging.getLogger(__name__)


class AiLoadBalancer(RootContext):
    """One per gateway worker and configuration. Until it is configured, requests pass through."""

    further_contexts = (RuleContext, *CONTEXT_CLASSES)

    def __init__(self, context_id: int) -> None:
        super().__init__(context_id)
        self.plugin_id = ""
        self.higress = HigressUpstream()
        self._clients: dict[Connection, RedisClient] = {}
        self._connections: dict[str, Connection] = {}  # by cluster, in the configuration of now
        self._config = Config("", (), None, ())
        self._rule_drivers: list[Driver] = []
        self._default_driver: Driver | None = None
        self._retiring: list[Driver] = []
        self._ticked: list[Driver] = []  # those that requests may get

    def on_configure(self, configuration_size: int) -> bool | None:
        """A configuration that cannot be used changes nothing."""
        try:
            new = parse(self.plugin_configuration(), capabilities.current().redis)
        except ConfigError as error:
            prefix = root_prefix(self.plugin_id)
            for problem in error.errors:
                _logger.error("%sconfiguration: %s", prefix, problem)
            return False
        self._use(new)
        for warning in new.warnings:
            _logger.warning("%sconfiguration: %s", root_prefix(self.plugin_id), warning)
        return True

    def on_tick(self) -> None:
        for driver in self._ticked:
            driver.on_tick()
        if self._retiring:
            self._retiring = [driver for driver in self._retiring if not driver.is_idle]
            for driver in self._retiring:
                driver.on_tick()

    def driver_of(self, request: Request) -> Driver | None:
        """The driver of the first rule that matches, else that of the global configuration, if there is one."""
        for rule, driver in zip(self._config.rules, self._rule_drivers, strict=True):
            if rule.matches(request):
                return driver
        return self._default_driver

    def redis_client(self, config: RedisConfig) -> RedisClient:
        """The client of a Redis. A gateway keeps one setting for each, so the first configuration's counts for all."""
        connection = self._connections.setdefault(config.cluster, config.connection)
        client = self._clients.get(connection)
        if client is None:
            client = self._clients[connection] = RedisClient(*connection)
            try:
                client.init()
            except RedisUnreachable as error:
                _logger.warning("%sRedis is not ready, requests will try again: %s", root_prefix(self.plugin_id), error)
        return client

    def _use(self, new: Config) -> None:
        """Streams in flight stay with the driver that they have."""
        self._connections = {}
        rule_drivers = [make_driver(self, rule.config) for rule in new.rules]
        default_driver = make_driver(self, new.default) if new.default else None
        busy = [driver for driver in (*self._retiring, *self._ticked) if not driver.is_idle]
        self.plugin_id = new.plugin_id
        self._retiring = busy[-MAX_RETIRING_DRIVERS:]
        self._config, self._rule_drivers, self._default_driver = new, rule_drivers, default_driver
        self._ticked = [*rule_drivers, *([default_driver] if default_driver else [])]
        self._clients = {connection: self._clients[connection] for connection in self._connections.values()}
        if rule_drivers or default_driver is None:
            self.http_context = RuleContext
        else:
            self.http_context = default_driver.context_class
        self.set_tick_period(min([driver.tick_period_ms for driver in (*self._ticked, *self._retiring)], default=0))
