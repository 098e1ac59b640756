"""A plugin in plain CPython behind the interface of a guest, for debugging with pdb.

The callbacks go where the C extension of the wasm guest sends them: to the attached context if it wants them, all
others to the dispatcher; exceptions go to `dispatcher.on_exception`. Known differences from the wasm guest: print goes
to the terminal, `time` is the real time, and there is no limit on memory or stack but the interpreter's.
"""

import inspect
import json
from collections.abc import Callable
from types import ModuleType

from proxywasm._host import Dispatcher
from proxywasm.callbacks import CONTEXT_CALLBACKS
from proxywasm.enums import LogLevel

from .abi import ABI_HIGRESS, Target
from .errors import LoadError, UsageError
from .fresh_import import FreshImport
from .guest import Environment, HostCalls
from .native_module import NativeModule, functions

_MASK = 0xFFFF_FFFF
_BITS = {f"proxy_{name}": (name, 1 << bit) for bit, name in enumerate(CONTEXT_CALLBACKS)}
_TRUE_BY_DEFAULT = ("on_vm_start", "on_configure", "validate_configuration", "on_done")
_FALSE_ON_ERROR = ("on_vm_start", "on_configure", "validate_configuration")
_WITH_END_OF_STREAM = (
    "on_request_headers",
    "on_request_body",
    "on_response_headers",
    "on_response_body",
    "on_downstream_data",
    "on_upstream_data",
)


class NativeFactory:
    """`plugin` is "module:Class"; the class is a proxywasm.RootContext."""

    def __init__(self, plugin: str) -> None:
        self.module_name, _, self.class_name = plugin.partition(":")
        if not self.module_name or not self.class_name:
            raise LoadError(f"a native plugin is named module:Class, not {plugin!r}")

    def __call__(self, target: Target, host: HostCalls, environment: Environment) -> "NativeGuest":
        return NativeGuest(self.module_name, self.class_name, target, host, environment)


class NativeGuest:
    """guest.Guest."""

    instructions: int | None = None

    def __init__(
        self, module_name: str, class_name: str, target: Target, host: HostCalls, environment: Environment
    ) -> None:
        self._native = NativeModule(host)
        module = ModuleType("_proxywasm")
        vars(module).update(functions(self._native))
        self._import = FreshImport(module_name.partition(".")[0], module, environment.random_bytes)
        try:
            plugin = getattr(self._import.load(module_name), class_name)
            self._import.load("proxywasm.vm").start(plugin, target)
        except Exception as error:
            self._import.forget()
            raise LoadError(f"{module_name}:{class_name} cannot be imported: {error!r}") from error
        self._exports = frozenset(json.loads(self._native.manifest)["exports"])
        self._dispatcher = self._native.dispatcher
        self.abi_marker = ABI_HIGRESS if target == "higress" else "proxy_abi_version_0_2_1"

    @property
    def memory_size(self) -> None:
        return None

    def exports(self, name: str) -> bool:
        return name in self._exports

    def call(self, name: str, *arguments: int) -> int | None:
        with self._import.inside():
            return self._call(name, *arguments)

    def _call(self, name: str, *arguments: int) -> int | None:
        dispatcher = self._dispatcher
        assert dispatcher is not None, "the plugin set no dispatcher"
        if name in _BITS:
            return self._context_callback(dispatcher, *_BITS[name], *arguments)
        callback = name.removeprefix("proxy_")
        try:
            getattr(dispatcher, callback)(*arguments)
        except BaseException as error:
            self._failed(dispatcher, callback, arguments[0], error)
        return None

    def python_context(self, context_id: int) -> object:
        """The plugin's own object of a context; UsageError if there is none."""
        contexts: dict[int, object] = getattr(self._dispatcher, "contexts", {})
        if context_id not in contexts:
            raise UsageError(f"the plugin has no context {context_id}")
        return contexts[context_id]

    def close(self) -> None:
        self._native.contexts.clear()
        self._native.dispatcher = self._dispatcher = None
        self._import.forget()

    def _context_callback(
        self, dispatcher: Dispatcher, callback: str, bit: int, context_id: int, *arguments: int | bool
    ) -> int:
        default = int(callback in _TRUE_BY_DEFAULT)
        context, wanted = self._native.contexts.get(context_id, (None, 0))
        if not wanted & bit:
            return default
        if callback in _WITH_END_OF_STREAM:
            arguments = (*arguments[:-1], bool(arguments[-1]))
        try:
            method: Callable[..., int | None] = getattr(context, callback)
            result = method(*arguments)
            return default if result is None else _as_int(result) & _MASK
        except BaseException as error:
            self._failed(dispatcher, callback, context_id, error)
            return 0 if callback in _FALSE_ON_ERROR else default

    def _failed(self, dispatcher: Dispatcher, callback: str, context_id: int, error: BaseException) -> None:
        """Not for what ends the debugger or the test: that goes through."""
        if isinstance(error, KeyboardInterrupt) or _is_debugger_quit(error):
            raise error
        try:
            dispatcher.on_exception(callback, context_id, error)
        except BaseException:
            self._native.log(LogLevel.ERROR, f"{callback}: on_exception raised too")


def _as_int(result: object) -> int:
    if not isinstance(result, int):
        raise TypeError(f"a callback returns int, bool or None, not {type(result).__name__}")
    return int(result)


def _is_debugger_quit(error: BaseException) -> bool:
    return any(base.__module__ == "bdb" for base in inspect.getmro(type(error)))
