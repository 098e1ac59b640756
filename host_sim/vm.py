"""One VM: a guest, its contexts, the callbacks into it and the host calls out of it.

Theory of operation. `callback` enters the guest. While a callback runs, `effective_id` names the context that host
calls act on; what must not happen inside a callback (continuing a stream, a local reply, a deletion) is put off with
`after_callback` and done when the callback has returned, before the action that it returned is looked at, as on Envoy.

Everything that reaches a VM from outside runs within `entry()`, or is handed to `deliver`, which waits for the entry in
progress to end: a reply that arrives during a VM call is delivered after it.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from proxywasm.enums import LogLevel, Status

from .abi import CALLBACKS, Target, host_calls
from .buffers import Buffer
from .callouts import HttpCall, HttpResponse
from .calls import CALLS
from .clock import Priority, Timer
from .codec import Pair
from .errors import GuestTrap, HostCallError, LoadError, SimulatorError
from .gateway import Gateway, Plugin
from .guest import Guest, GuestFactory
from .headers import HeaderMap
from .records import CallbackRecord, HostCallRecord, LogRecord, Trace
from .redis_client import RedisClient
from .stream import HttpStream

DELIVERIES_MAX = 100_000  # in one go; more means that guest and host answer each other for ever
PENDING_CALLS_MAX = 100_000
CONTEXT_ID_MAX = 0x7FFF_FFFF
TOKEN_HTTP, TOKEN_REDIS = 0, 3  # low two bits of a call id
_MASK = 0xFFFF_FFFF


@dataclass(slots=True)
class RootContext:
    context_id: int
    tick_period_ms: int = 0
    tick_timer: Timer | None = None
    done_pending: bool = False


@dataclass(slots=True)
class Callout:
    """What the callback of a finished callout can read, from any context of the VM."""

    response: HttpResponse | None = None
    redis_reply: Buffer | None = None
    status: tuple[int, bytes] = (0, b"")
    headers: HeaderMap | None = None
    trailers: HeaderMap | None = None
    body: Buffer | None = None


@dataclass(slots=True)
class _PendingHttpCall:
    root_id: int
    timer: Timer | None = None


@dataclass(slots=True)
class _State:
    """What a callback in progress changes."""

    effective_id: int = 0
    depth: int = 0
    after: deque[Callable[[], None]] = field(default_factory=deque)


class Vm:
    def __init__(self, factory: GuestFactory, target: Target, plugin: Plugin, gateway: Gateway) -> None:
        self.target: Target = target
        self.plugin = plugin
        self.gateway = gateway
        self.contexts: dict[int, RootContext | HttpStream] = {}
        self.trace = Trace()
        self.callout: Callout | None = None
        self.dead: str | None = None
        self.root: RootContext | None = None
        self.configuring = False  # the plugin's configuration can be read
        self.redis_clients: dict[str, RedisClient] = {}
        self._offered = host_calls(target)
        self._state = _State()
        self._inbox: deque[Callable[[], None]] = deque()
        self._entries = 0
        self._next_context_id = 1
        self._next_token = 1
        self._http_calls: dict[int, _PendingHttpCall] = {}
        self._redis_calls: set[int] = set()
        self.on_call_end: Callable[[], None] = lambda: None  # told when a callout's callback has run
        self.guest: Guest = factory(target, self, gateway)
        self._callbacks = {name for name in CALLBACKS if self.guest.exports(name)}

    def __repr__(self) -> str:
        return f"<vm {self.target}: {self.dead or 'running'}, {len(self.contexts)} contexts>"

    # Lifecycle

    def start(self) -> None:
        """Create the root context, start the VM, configure the plugin; LoadError if one of them fails."""
        with self.entry():
            self.root = RootContext(self._context_id())
            root_id = self.root.context_id
            self.contexts[root_id] = self.root
            self.callback("proxy_on_context_create", root_id, 0)
            plugin = self.plugin
            for export, configuration in (
                ("proxy_on_vm_start", plugin.vm_configuration),
                ("proxy_validate_configuration", plugin.configuration),
                ("proxy_on_configure", plugin.configuration),
            ):
                self.configuring = configuration is plugin.configuration
                accepted = self.callback(export, root_id, len(configuration), default=1)
                self.configuring = False
                if not accepted or self.dead is not None:
                    raise LoadError(self._refusal(export))

    def _refusal(self, export: str) -> str:
        said = "\n".join(str(record) for record in self.trace.logs if record.level >= LogLevel.WARN)
        what = f"the VM died: {self.dead}" if self.dead is not None else "it returned false"
        return f"{export}: {what}" + (f"; the plugin logged:\n{said}" if said else "")

    def finish(self) -> None:
        """Done, log and delete for the root context."""
        if self.root is None:
            return
        with self.entry():
            root = self.root
            if root.tick_timer is not None:
                root.tick_timer.cancel()
            if self.callback("proxy_on_done", root.context_id, default=1):
                self.delete_root(root)
            else:
                root.done_pending = True

    def delete_root(self, root: RootContext) -> None:
        root.done_pending = False
        self.callback("proxy_on_log", root.context_id)
        self.callback("proxy_on_delete", root.context_id)
        self.contexts.pop(root.context_id, None)

    def close(self) -> None:
        if self.root is not None and self.root.tick_timer is not None:
            self.root.tick_timer.cancel()
        for client in self.redis_clients.values():
            client.close()
        for call in self._http_calls.values():
            if call.timer is not None:
                call.timer.cancel()
        self.guest.close()

    def open_stream(self) -> HttpStream:
        stream = HttpStream(self, self._context_id())
        if self.dead is None:
            assert self.root is not None, "the VM was not started"
            self.contexts[stream.context_id] = stream
            with self.entry():
                self.callback("proxy_on_context_create", stream.context_id, self.root.context_id)
        return stream

    def finish_stream(self, stream: HttpStream) -> None:
        """Log, done, delete: the order of Envoy 1.40. What on_done returns is not looked at for streams."""
        if self.contexts.get(stream.context_id) is not stream:
            return
        stream.logging = True
        self.callback("proxy_on_log", stream.context_id)
        stream.logging = False
        self.callback("proxy_on_done", stream.context_id, default=1)
        self.callback("proxy_on_delete", stream.context_id)
        self.contexts.pop(stream.context_id, None)

    # Into the guest

    @contextmanager
    def entry(self) -> Iterator[None]:
        self._entries += 1
        try:
            yield
            if self._entries == 1:
                self._drain()
        finally:
            self._entries -= 1

    def deliver(self, action: Callable[[], None]) -> None:
        """Run `action` now, or after the entry in progress."""
        self._inbox.append(action)
        if not self._entries:
            with self.entry():
                pass

    def _drain(self) -> None:
        for _ in range(DELIVERIES_MAX):
            if not self._inbox:
                return
            self._run(self._inbox.popleft())
        raise SimulatorError(f"{DELIVERIES_MAX} deliveries in one go: plugin and host answer each other for ever")

    def _run(self, delivery: Callable[[], None]) -> None:
        on_error = self.gateway.on_error
        if on_error is None:
            delivery()
            return
        try:
            delivery()
        except Exception as error:
            on_error(error)

    def callback(self, export: str, context_id: int, *arguments: int, default: int = 0) -> int:
        """Run a callback; `default` if the guest does not have it or the VM is dead."""
        if self.dead is not None or export not in self._callbacks:
            return default
        state = self._state
        outer_id, state.effective_id = state.effective_id, context_id
        state.depth += 1
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
            state.depth -= 1
            served_id, state.effective_id = state.effective_id, outer_id
        spent = None if before is None else (self.guest.instructions or 0) - before
        record = CallbackRecord(export, arguments, result, spent)
        self._trace_of(served_id).callbacks.append(record)  # a reply for a stream: the stream's, not the root's
        if trap is not None:
            self._die(str(trap))
        while state.after and not state.depth:
            state.after.popleft()()
        return default if result is None else result

    def after_callback(self, action: Callable[[], None]) -> None:
        self._state.after.append(action)

    def _die(self, message: str) -> None:
        self.dead = message
        self._state.after.clear()
        self.log(LogLevel.CRITICAL, f"the VM is dead: {message}", 0)
        for context in list(self.contexts.values()):
            if isinstance(context, HttpStream):
                context.fail()
                context.reset("the VM is dead")
            elif context.tick_timer is not None:
                context.tick_timer.cancel()
        self.contexts.clear()

    # Out of the guest

    def host_call(self, name: str, *arguments: Any) -> Any:
        trace = self._trace_of(self._state.effective_id).host_calls
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
        self.log(level, text.decode("utf-8", "replace"), self._state.effective_id)

    def log(self, level: LogLevel, message: str, context_id: int) -> None:
        if level < self.gateway.log_level:
            return
        record = LogRecord(level, message, context_id)
        self.gateway.logs.append(record)
        self._trace_of(context_id).logs.append(record)

    @property
    def effective_id(self) -> int:
        return self._state.effective_id

    @effective_id.setter
    def effective_id(self, context_id: int) -> None:
        self._state.effective_id = context_id

    def effective_stream(self) -> HttpStream | None:
        """The stream that host calls act on; None in a root context."""
        context = self.contexts.get(self._state.effective_id)
        return context if isinstance(context, HttpStream) else None

    def effective_root(self) -> RootContext:
        if self.root is None:
            raise HostCallError(Status.BAD_ARGUMENT, "there is no root context yet")
        return self.root

    # Timer

    def set_tick(self, root: RootContext, period_ms: int) -> None:
        if root.tick_timer is not None:
            root.tick_timer.cancel()
        root.tick_period_ms = period_ms
        root.tick_timer = self.gateway.scheduler.call_later(period_ms, lambda: self._tick(root)) if period_ms else None

    def _tick(self, root: RootContext) -> None:
        if self.dead is None:
            self.set_tick(root, root.tick_period_ms)
            self.deliver(self.tick)

    def tick(self) -> None:
        """The timer fires now."""
        with self.entry():
            self.callback("proxy_on_tick", self.effective_root().context_id)

    def queue_ready(self, queue_id: int) -> None:
        """Never re-entrant: told after what is in progress."""
        if self.root is not None and self.dead is None:
            root_id = self.root.context_id
            self.deliver(lambda: self._queue_ready(root_id, queue_id))

    def _queue_ready(self, root_id: int, queue_id: int) -> None:
        self.callback("proxy_on_queue_ready", root_id, queue_id)

    # Callouts

    def token(self, kind: int) -> int:
        """A call id: low two bits the kind, the rest counts up."""
        self._next_token = self._next_token % (_MASK >> 2) + 1
        return (self._next_token << 2) | kind

    @property
    def pending_calls(self) -> int:
        return len(self._http_calls) + len(self._redis_calls)

    def start_http_call(
        self, cluster: str, headers: list[Pair], body: bytes, trailers: list[Pair], timeout_ms: int
    ) -> int:
        if len(self._http_calls) >= PENDING_CALLS_MAX:
            raise HostCallError(Status.INTERNAL_FAILURE, f"{PENDING_CALLS_MAX} HTTP calls are pending")
        call_id = self.token(TOKEN_HTTP)
        pending = _PendingHttpCall(self.effective_root().context_id)

        def done(response: HttpResponse | None) -> None:
            self.deliver(lambda: self.finish_http_call(call_id, response))

        call = HttpCall(call_id, pending.root_id, cluster, headers, body, trailers, timeout_ms, done)
        self._http_calls[call_id] = pending
        try:
            self.gateway.callouts.start(call)
        except HostCallError:
            del self._http_calls[call_id]
            raise
        if timeout_ms:
            pending.timer = self.gateway.scheduler.call_later(timeout_ms, lambda: done(None), Priority.TIMEOUT)
        return call_id

    def finish_http_call(self, call_id: int, response: HttpResponse | None) -> None:
        """Tell the plugin, once; None is a failure."""
        pending = self._http_calls.pop(call_id, None)
        if pending is None:
            return
        if pending.timer is not None:
            pending.timer.cancel()
        if response is None:
            self.callout = Callout(status=(Status.BROKEN_CONNECTION, b"reset"))
            sizes = (0, 0, 0)
        else:
            headers, trailers = HeaderMap(response.headers), HeaderMap(response.trailers)
            body = Buffer(response.body, writable=False)
            self.callout = Callout(response, headers=headers, trailers=trailers, body=body)
            sizes = (len(headers), len(body), len(trailers))
        self.callback("proxy_on_http_call_response", pending.root_id, call_id, *sizes)
        self.callout = None
        self.on_call_end()

    def start_redis_call(self, client: RedisClient, query: bytes) -> int:
        call_id = self.token(TOKEN_REDIS)

        def done(status: int, reply: bytes) -> None:
            self.deliver(lambda: self.finish_redis_call(call_id, status, reply))

        self._redis_calls.add(call_id)
        try:
            client.call(query, done)
        except HostCallError:
            self._redis_calls.discard(call_id)
            raise
        return call_id

    def finish_redis_call(self, call_id: int, status: int, reply: bytes) -> None:
        """Tell the plugin how a Redis call ended."""
        self._redis_calls.discard(call_id)
        root = self.effective_root()
        self.callout = Callout(redis_reply=Buffer(reply, writable=False))
        self.callback("proxy_on_redis_call_response", root.context_id, call_id, int(status), len(reply))
        self.callout = None
        self.on_call_end()

    def _context_id(self) -> int:
        context_id = self._next_context_id
        self._next_context_id = context_id % CONTEXT_ID_MAX + 1
        return context_id

    def _trace_of(self, context_id: int) -> Trace:
        context = self.contexts.get(context_id)
        return context.trace if isinstance(context, HttpStream) else self.trace
