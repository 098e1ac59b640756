"""A host whose answers a test writes down: it stands in for the module `_proxywasm`, without any semantics of its own.

`fresh_sdk(host)` imports a new copy of the SDK above it, as a new VM would.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from proxywasm import _host
from proxywasm.callbacks import CONTEXT_CALLBACKS

from host_sim import codec

HOST_CALLS = [name for name in vars(_host.HostModule) if not name.startswith("_")]


class ScriptedHost(ModuleType):
    """Records every call as (name, *arguments). `answers[name]` is the result, a function of the arguments, or an
    exception to raise; without an answer a call returns None."""

    def __init__(self) -> None:
        super().__init__("_proxywasm")
        self.calls: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {"get_log_level": 2, "get_current_time_nanoseconds": 0, "define_metric": 1}
        self.dispatcher: Any = None
        self.attached: dict[int, Any] = {}
        self.wanted: dict[int, int] = {}
        self.manifest = b""
        for name in HOST_CALLS:
            if not hasattr(type(self), name):
                setattr(self, name, self._recorder(name))

    def _recorder(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.calls.append((name, *arguments))
            answer = self.answers.get(name)
            if isinstance(answer, Exception):
                raise answer
            return answer(*arguments) if callable(answer) else answer

        return call

    def named(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of all calls of this name so far."""
        return [call[1:] for call in self.calls if call[0] == name]

    # Wiring and codecs work as in the real module.

    def set_dispatcher(self, dispatcher: Any) -> None:
        self.dispatcher = dispatcher

    def set_manifest(self, manifest: bytes) -> None:
        self.manifest = manifest

    def attach(self, context_id: int, context: Any, wanted: int) -> None:
        self.attached[context_id] = context
        self.wanted[context_id] = wanted

    def set_wanted(self, context_id: int, wanted: int) -> None:
        self.wanted[context_id] = wanted

    def detach(self, context_id: int) -> None:
        del self.attached[context_id]

    def encode_command(self, arguments: Any) -> bytes:
        return codec.encode_command(arguments)

    def decode_reply(self, data: bytes) -> Any:
        value = codec.decode_reply(data)
        return self.dispatcher.reply_error(str(value)) if isinstance(value, codec.RespError) else value

    # What a host does to the module.

    def call(self, callback: str, context_id: int, *arguments: Any) -> Any:
        """A callback of a context, answered as `_host` says; of the dispatcher, for all other names."""
        try:
            if callback not in CONTEXT_CALLBACKS:
                return getattr(self.dispatcher, callback)(context_id, *arguments)
            bit = 1 << CONTEXT_CALLBACKS.index(callback)
            if context_id in self.attached and self.wanted[context_id] & bit:
                return getattr(self.attached[context_id], callback)(*arguments)
        except BaseException as error:
            self.dispatcher.on_exception(callback, context_id, error)
        return None


@contextmanager
def fresh_sdk(host: ScriptedHost) -> Iterator[ModuleType]:
    """A new copy of `proxywasm` that was imported above `host`; the process's own copy comes back afterwards."""
    ours = {name: module for name, module in sys.modules.items() if name.split(".")[0] in ("proxywasm", "_proxywasm")}
    for name in ours:
        del sys.modules[name]
    sys.modules["_proxywasm"] = host
    try:
        sdk = importlib.import_module("proxywasm")
        importlib.import_module("proxywasm.vm")
        yield sdk
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] in ("proxywasm", "_proxywasm")]:
            del sys.modules[name]
        sys.modules.update(ours)
