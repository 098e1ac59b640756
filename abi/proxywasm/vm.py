"""One VM: the contexts that live in it, and what the host calls that is not a method of a context.

Everything here is made at build time and survives the snapshot of the heap; no host call is made before the host
creates the first context.
"""

import json
import random
import sys
import traceback

from . import capabilities, grpc_client, http_client, log, redis_client
from ._host import host
from .contexts import HttpContext, RootContext, StreamContext, callback_names, live, mask_of, wanted_callbacks
from .enums import LogLevel
from .errors import RedisReplyError, host_error
from .metrics import Counter

_ALWAYS_EXPORTED = (
    "proxy_on_context_create",
    "proxy_on_delete",
    "proxy_on_http_call_response",
    "proxy_on_grpc_receive_initial_metadata",
    "proxy_on_grpc_receive",
    "proxy_on_grpc_receive_trailing_metadata",
    "proxy_on_grpc_close",
)
_ROOT_ALWAYS_WANTED = mask_of("on_vm_start", "on_configure")

exceptions = Counter("proxywasm_exceptions")


class _RootCallbacks:
    """What the host calls for a root context: the root's own methods, and the log level is renewed on the way."""

    def __init__(self, root: RootContext) -> None:
        self._root = root

    def on_vm_start(self, vm_configuration_size: int) -> bool | None:
        log.refresh_level()
        return self._root.on_vm_start(vm_configuration_size)

    def on_configure(self, configuration_size: int) -> bool | None:
        log.refresh_level()
        return self._root.on_configure(configuration_size)

    def on_tick(self) -> None:
        log.refresh_level()
        self._root.on_tick()

    def __getattr__(self, name: str) -> object:
        return getattr(self._root, name)


class Vm:
    """The dispatcher of `_host.Dispatcher`."""

    def __init__(self, root_class: type[RootContext]) -> None:
        self.root_class = root_class
        self.contexts = live
        self.roots: dict[int, RootContext] = {}  # those of the contexts that are roots
        self.on_http_call_response = http_client.on_response
        self.on_redis_call_response = redis_client.on_response
        self.on_grpc_receive_initial_metadata = grpc_client.on_initial_metadata
        self.on_grpc_receive = grpc_client.on_message
        self.on_grpc_receive_trailing_metadata = grpc_client.on_trailing_metadata
        self.on_grpc_close = grpc_client.on_close
        self.host_error = host_error
        self.reply_error = RedisReplyError
        self._is_seeded = False

    def on_context_create(self, context_id: int, parent_id: int) -> None:
        """Parent 0 makes a root context, any other one the stream context that the parent's class names."""
        if not parent_id:
            self._create_root(context_id)
            return
        root = self.roots[parent_id]
        context_class = root.http_context or root.stream_context
        if context_class is not None:
            context = self.contexts[context_id] = context_class(context_id, root)
            host.attach(context_id, context, context._wanted)

    def _create_root(self, context_id: int) -> None:
        if not self._is_seeded:
            random.seed()  # all VMs start from one snapshot, with one state of the generator
            self._is_seeded = True
        log.refresh_level()
        root = self.contexts[context_id] = self.roots[context_id] = self.root_class(context_id)
        host.attach(context_id, _RootCallbacks(root), root._wanted | _ROOT_ALWAYS_WANTED)

    def on_delete(self, context_id: int) -> None:
        """The host forgets a context; replies that come for it later are dropped or go to their orphan callback."""
        context = self.contexts.pop(context_id, None)
        if context is not None:
            context.is_deleted = True
            host.detach(context_id)
            if context_id in self.roots:
                del self.roots[context_id]

    def on_exception(self, callback: str, context_id: int, error: BaseException) -> None:
        """Logs what a callback raised, and counts it. The host gets the callback's default."""
        try:
            text = "".join(traceback.format_exception(error)).rstrip()
            host.log(int(LogLevel.ERROR), log.bounded(f"{callback} of context {context_id} raised:\n{text}"))
            exceptions.increment(1)
        except Exception:
            pass  # nothing is left to tell it to


def _exports(root_class: type[RootContext], target: capabilities.Capabilities) -> list[str]:
    """The names of the callbacks that the module exports: what the SDK needs and what the classes override."""
    stream_classes: list[type[HttpContext | StreamContext] | None] = [
        root_class.http_context,
        root_class.stream_context,
        *root_class.further_contexts,
    ]
    mask = _ROOT_ALWAYS_WANTED | wanted_callbacks(root_class)
    for stream_class in stream_classes:
        if stream_class is not None:
            mask |= wanted_callbacks(stream_class)
    names = {*_ALWAYS_EXPORTED, *(f"proxy_{name}" for name in callback_names(mask))}
    if target.redis:
        names.add("proxy_on_redis_call_response")
    return sorted(names)


def start(root_class: type[RootContext], target: str) -> None:
    """Makes a plugin the one of this VM, at build time or, in plain CPython, when the VM is made.

    `target` is `higress` or `envoy`. The manifest tells the build tool what the module must export and contain. Raises
    ValueError for an unknown target.
    """
    chosen = capabilities.choose(target)
    exports = _exports(root_class, chosen)
    host.set_dispatcher(Vm(root_class))
    log.install(root_class.__module__.partition(".")[0])
    manifest = {
        "plugin": f"{root_class.__module__}:{root_class.__qualname__}",
        "target": target,
        "exports": exports,
        "modules": sorted(sys.modules),
    }
    host.set_manifest(json.dumps(manifest).encode())
