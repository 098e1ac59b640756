"""One VM: a guest, its contexts, the callbacks into it and the host calls out of it.

Theory of operation. `callback` enters the guest. While a callback runs, `effective_id` names the context that host
calls act on; what must not happen inside a callback (continuing a stream, a local reply, a deletion) is put off with
`after_callback` and done when the callback has returned, before the action that it returned is looked at, as on Envoy.

Everything that reaches a VM from outside runs within `entry()`, or is handed to `deliver`, which waits for the entry in
progress to end: a reply that arrives during a VM call is delivered after it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

from proxywasm.enums import LogLevel, Status

from .abi import CALLBACKS, Target, host_calls
from .calls import CALLS
from .contexts import RootContext, cancel_ticks
from .dispatcher import Dispatcher
from .errors import GuestTrap, HostCallError, LoadError
from .gateway import Gateway, Plugin
from .grpc_calls import GrpcCalls
from .guest import Guest, GuestFactory
from .http_calls import HttpCalls
from .http_filter import HttpFilter
from .records import CallbackRecord, HostCallRecord, LogRecord, Trace
from .redis_calls import RedisCalls
from .redis_client import RedisClient
from .shared import MetricIds
from .stream import HttpStream
from .tcp_filter import TcpFilter
from .tokens import Tokens

CONTEXT_ID_MAX = 0x7FFF_FFFF
_MASK = 0xFFFF_FFFF

Context: TypeAlias = RootContext | HttpFilter | TcpFilter


class Vm:
    def __init__(self, factory: GuestFactory, target: Target, plugin: Plugin, gateway: Gateway) -> None:
        self.target: Target = target
        self.plugin = plugin  # whose VM it is; others may be added
        self.gateway = gateway
        self.contexts: dict[int, Context] = {}
        self.roots: list[RootContext] = []
        self.trace = Trace()
        self.dead: str | None = None
        self.rebuild_wanted = False  # Higress: property wasm_need_rebuild
        self.redis_clients: dict[str, RedisClient] = {}
        self.metric_ids = MetricIds(gateway.shared.metrics)
        self.tokens = Tokens()
        self.http_calls = HttpCalls(self)
        self.redis_calls = RedisCalls(self)
        self.grpc_calls = GrpcCalls(self)
        self.on_call_end: Callable[[], None] = lambda: None  # told when a callout's callback has run
        self.effective_id = 0
        self._current_id = 0  # of the context whose callback runs
        self._depth = 0
        self._after: deque[Callable[[], None]] = deque()
        self._offered = host_calls(target)
        self._next_context_id = 1
        self.guest: Guest = factory(target, self, gateway)
        self._callbacks = {name for name in CALLBACKS if self.guest.exports(name)}

    def __repr__(self) -> str:
        return f"<vm {self.target}: {self.dead or 'running'}, {len(self.contexts)} contexts>"

    def is_dead(self) -> bool:
        return self.dead is not None

    # Lifecycle

    @property
    def root(self) -> RootContext | None:
        """Of the first plugin."""
        return self.roots[0] if self.roots else None

    def start(self) -> RootContext:
        """Start and configure the first plugin; LoadError if it refuses."""
        return self.add_plugin(self.plugin)

    def add_plugin(self, plugin: Plugin) -> RootContext:
        """Create a root context, start the VM for it, configure it; LoadError if one of them fails."""
        with self.entry():
            root = RootContext(self, self.new_context_id(), plugin)
            self.roots.append(root)
            self.contexts[root.context_id] = root
            root.is_configuring = True
            self.callback("proxy_on_context_create", root.context_id, 0)
            root.is_configuring = False
            started = self.callback("proxy_on_vm_start", root.context_id, len(plugin.vm_configuration), default=1)
            self._check(bool(started), "proxy_on_vm_start")
            self._check(self.configure(root, plugin.configuration), "proxy_on_configure")
        return root

    def configure(self, root: RootContext, configuration: bytes) -> bool:
        """What on_configure answers to a new configuration."""
        root.plugin = replace(root.plugin, configuration=configuration)
        root.is_configuring = True
        with self.entry():
            accepted = self.callback("proxy_on_configure", root.context_id, len(configuration), default=1)
        root.is_configuring = False
        return bool(accepted)

    def _check(self, accepted: bool, export: str) -> None:
        if not accepted or self.dead is not None:
            said = "\n".join(str(record) for record in self.trace.logs if record.level >= LogLevel.WARN)
            what = f"the VM died: {self.dead}" if self.dead is not None else "it returned false"
            raise LoadError(f"{export}: {what}" + (f"; the plugin logged:\n{said}" if said else ""))

    def finish(self) -> None:
        """Done and delete for the root contexts; one that is not done yet waits for proxy_done."""
        with self.entry():
            for root in self.roots:
                root.cancel_tick()
                if self.callback("proxy_on_done", root.context_id, default=1):
                    self.delete_root(root)
                else:
                    root.done_pending = True

    def delete_root(self, root: RootContext) -> None:
        root.done_pending = False
        self.callback("proxy_on_delete", root.context_id)
        self.contexts.pop(root.context_id, None)

    def close(self) -> None:
        cancel_ticks(self.roots)
        for client in self.redis_clients.values():
            client.close()
        self.http_calls.close()
        self.grpc_calls.shut_down()
        self.guest.close()

    def open_stream(self) -> HttpStream:
        """An HTTP request through the first plugin alone."""
        assert self.root is not None, "the VM was not started"
        return HttpStream(self.gateway, [self.root])

    def new_context_id(self) -> int:
        context_id = self._next_context_id
        self._next_context_id = context_id % CONTEXT_ID_MAX + 1
        return context_id

    # Into the guest

    def entry(self) -> Dispatcher:
        """`with vm.entry():` around everything that comes from outside."""
        return self.gateway.dispatcher

    def deliver(self, action: Callable[[], None]) -> None:
        """Run `action` now, or after the entry in progress."""
        self.gateway.dispatcher.deliver(action)

    def callback(self, export: str, context_id: int, *arguments: int, default: int = 0) -> int:
        """Run a callback; `default` if the guest does not have it or the VM is dead."""
        if self.dead is not None or export not in self._callbacks:
            return default
        outer = self._current_id, self.effective_id
        self._current_id = self.effective_id = context_id
        self._depth += 1
        before = self.guest.instructions
        result: int | None = None
        trap: GuestTrap | None = None
        try:
            result = self.guest.call(export, context_id, *arguments)
            if result is not None:
                result &= _MASK
        except GuestTrap as error:
            trap = error
        except BaseException as error:
            self.dead = f"{export} was abandoned: {error!r}"  # the guest's stack was not unwound: it cannot go on
            raise
        finally:
            self._depth -= 1
            served_id = self.effective_id
            self._current_id, self.effective_id = outer
        spent = None if before is None else (self.guest.instructions or 0) - before
        record = CallbackRecord(export, arguments, result, spent)
        self.trace_of(served_id).callbacks.append(record)  # a reply for a stream: the stream's, not the root's
        if trap is not None:
            self.die(str(trap))
        after = self._after
        while after and not self._depth:
            after.popleft()()
        return default if result is None else result

    def after_callback(self, action: Callable[[], None]) -> None:
        self._after.append(action)

    def die(self, message: str) -> None:
        """Streams that wait are not told: they fail at their next event, as on Envoy."""
        self.dead = message
        self._after.clear()
        self.log(LogLevel.CRITICAL, f"the VM is dead: {message}", 0)
        cancel_ticks(self.roots)

    # Out of the guest

    def host_call(self, name: str, *arguments: Any) -> Any:
        trace = self.trace_of(self.effective_id).host_calls
        try:
            if name not in self._offered:
                raise HostCallError(Status.UNIMPLEMENTED, f"{name} does not exist on {self.target}")
            result = CALLS[name](self, *arguments)
        except HostCallError as error:
            trace.append(HostCallRecord(name, arguments, error))
            raise
        trace.append(HostCallRecord(name, arguments, result))
        return result

    def write_output(self, descriptor: int, text: bytes) -> None:
        level = LogLevel.INFO if descriptor == 1 else LogLevel.ERROR
        self.log(level, text.decode("utf-8", "replace"), self.effective_id)

    def log(self, level: LogLevel, message: str, context_id: int) -> None:
        if level < self.gateway.log_level:
            return
        record = LogRecord(level, message, context_id)
        self.gateway.logs.append(record)
        self.trace_of(context_id).logs.append(record)

    def trace_of(self, context_id: int) -> Trace:
        context = self.contexts.get(context_id)
        return self.trace if context is None or isinstance(context, RootContext) else context.trace

    # The context that host calls act on

    def context(self) -> Context | None:
        """The effective one; the callback's own if that is gone; None while the module starts."""
        return self.contexts.get(self.effective_id) or self.contexts.get(self._current_id)

    def http_filter(self) -> HttpFilter | None:
        context = self.context()
        return context if isinstance(context, HttpFilter) else None

    def tcp_filter(self) -> TcpFilter | None:
        context = self.context()
        return context if isinstance(context, TcpFilter) else None

    def effective_stream(self) -> HttpStream | None:
        """The HTTP stream that host calls act on; None in another context."""
        found = self.http_filter()
        return found.stream if found is not None else None

    def effective_root(self) -> RootContext:
        context = self.context()
        if context is None:
            raise HostCallError(Status.BAD_ARGUMENT, "there is no root context yet")
        return context.root

    # Timer and queues

    def set_tick(self, root: RootContext, period_ms: int) -> None:
        root.cancel_tick()
        root.tick_period_ms = period_ms
        if period_ms:
            root.tick_timer = self.gateway.scheduler.call_later(period_ms, lambda: self._tick(root))

    def _tick(self, root: RootContext) -> None:
        """The next one is due a period after this one has run, or a period after it sets."""
        if self.dead is None:
            self.set_tick(root, root.tick_period_ms)
            self.deliver(lambda: self.tick(root))

    def tick(self, root: RootContext | None = None) -> None:
        """The timer fires now."""
        root = root or self.root
        assert root is not None, "the VM was not started"
        with self.entry():
            self.callback("proxy_on_tick", root.context_id)

    def queue_ready(self, root: RootContext, queue_id: int) -> None:
        """Never re-entrant: told after what is in progress."""
        self.deliver(lambda: self._queue_ready(root, queue_id))

    def _queue_ready(self, root: RootContext, queue_id: int) -> None:
        if root.context_id in self.contexts:
            self.callback("proxy_on_queue_ready", root.context_id, queue_id)

    # Callouts

    @property
    def pending_calls(self) -> int:
        return len(self.http_calls) + len(self.redis_calls) + len(self.grpc_calls)
