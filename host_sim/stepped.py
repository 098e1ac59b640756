"""The synchronous simulator for unit tests: time stands still, every reply is given by hand.

sim = SteppedSimulator("my_filter:MyFilter", clusters={"llm": ["10.0.0.1:80"]}, redis={"redis": SteppedRedis()})
stream = sim.open_stream()
stream.request_headers({":method": "GET", ":path": "/", ":authority": "llm"})
sim.deliver_redis(b"10.0.0.1:80")
assert stream.endpoint.address == "10.0.0.1:80"
sim.finish()
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from proxywasm.enums import LogLevel

from .abi import Target
from .callouts import HttpCall, HttpCallouts, HttpResponse, SteppedCallouts
from .clock import ManualScheduler
from .cluster import Cluster
from .connection import TcpConnection
from .deployment import Deployment, make_links
from .errors import UsageError
from .exchange import Exchange, observe
from .gateway import Gateway, Plugin
from .native_guest import NativeGuest
from .redis_backend import RedisBackend, ScriptedReply, SteppedRedis
from .setup import Clusters, GuestSource, configuration_bytes, guest_factory, make_clusters
from .stream import HttpStream
from .vm import Vm


class SteppedSimulator:
    """Starts the plugin; LoadError if that fails.

    scheduler: the clock, if others than the gateway follow it too
    plugin_options: further fields of gateway.Plugin: name, root_id, vm_id, vm_configuration, failure_policy, ...
    chain: plugins that follow the first one: a request passes them in this order, a response in the reverse one
    workers: how many workers the gateway has; then it has the VMs that Envoy makes (see deployment.py), else only one
    gateway_options: further fields of Gateway
    """

    def __init__(
        self,
        guest: GuestSource,
        target: Target = "higress",
        plugin_config: Mapping[str, Any] | str | bytes = b"",
        clusters: Clusters | None = None,
        redis: Mapping[str, RedisBackend | None] | None = None,
        seed: int = 0,
        fuel: bool = False,
        scheduler: ManualScheduler | None = None,
        plugin_options: Mapping[str, Any] | None = None,
        chain: Sequence[Plugin] = (),
        workers: int | None = None,
        **gateway_options: Any,
    ) -> None:
        self._is_closed = False
        self.scheduler = scheduler if scheduler is not None else ManualScheduler()
        self.callouts = SteppedCallouts()
        self.redis = dict(redis or {})
        named = make_clusters(clusters or {})
        gateway_options.setdefault("cluster_name", next(iter(named), ""))
        gateway_options.setdefault("log_level", LogLevel.DEBUG)
        self.gateway = Gateway(
            clusters=named,
            redis=self.redis,
            callouts=self._make_callouts(named, target),
            scheduler=self.scheduler,
            random_bytes=random.Random(seed).randbytes,
            **gateway_options,
        )
        plugin = Plugin(configuration_bytes(plugin_config), **(plugin_options or {}))
        links = make_links(guest_factory(guest, fuel), plugin, chain, fuel)
        self.deployment = Deployment(links, target, self.gateway, workers)

    @property
    def vm(self) -> Vm:
        """Of the first worker's first plugin."""
        return self.deployment.vm

    def _make_callouts(self, clusters: Mapping[str, Cluster], target: Target) -> HttpCallouts:
        return self.callouts

    def open_stream(self, worker: int = 0) -> HttpStream:
        return self.deployment.workers[worker].open_stream()

    def open_connection(self, worker: int = 0) -> TcpConnection:
        """A TCP connection to the cluster `cluster_name`, through the same plugins."""
        return self.deployment.workers[worker].open_connection()

    def python_context(self, stream: HttpStream | None = None) -> Any:
        """The plugin's own object for a stream, or its root's: to see which configuration a request got, for example.

        Of the native guest only; UsageError otherwise.
        """
        guest = self.vm.guest
        if not isinstance(guest, NativeGuest):
            raise UsageError("what is inside a plugin can be seen on the native guest only")
        root = self.vm.root
        assert root is not None  # the simulator has started
        return guest.python_context(root.context_id if stream is None else stream.context_id)

    def advance(self, duration_ms: float) -> None:
        """Let time pass: ticks, timeouts and buffered Redis queries fall due."""
        self.scheduler.advance(duration_ms)

    def redis_commands(self) -> list[list[bytes]]:
        """What waits for a reply at the SteppedRedis backends, after the buffered queries were sent."""
        return [command for backend in self._stepped() for command in backend.pending]

    def deliver_redis(self, reply: ScriptedReply) -> None:
        """Answer the oldest pending command: a value, Raw bytes, or Fault.DISCONNECT."""
        for backend in self._stepped():
            if backend.pending:
                backend.reply(reply)
                return
        raise UsageError("no Redis command is pending")

    def deliver_http(self, response: HttpResponse | None) -> HttpCall:
        """Answer the oldest pending HTTP callout; None makes it fail."""
        if not self.callouts.pending:
            raise UsageError("no HTTP callout is pending")
        call = self.callouts.pending.pop(0)
        call.done(response)
        return call

    def observe(self, stream: HttpStream) -> Exchange:
        return observe(stream)

    def finish(self) -> None:
        """End the plugin and free the VM; LeftoverError if something is open, paused or pending."""
        try:
            self.deployment.finish()
        finally:
            self.close()

    def close(self) -> None:
        """Free the VM; once more does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self.deployment.close()

    def _stepped(self) -> list[SteppedRedis]:
        for vm in self.deployment.vms:
            for client in vm.redis_clients.values():
                client.flush()
        return [backend for backend in self.redis.values() if isinstance(backend, SteppedRedis)]
