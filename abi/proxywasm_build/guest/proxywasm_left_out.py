"""Leaves tools that only the import of the plugin needed out of the snapshot.

`dataclasses` looks into the classes that it makes with `inspect`, which imports `ast`, `dis` and others: half a
megabyte that no request needs. They go all together, or stay all together if something might want one in a request.
"""

import gc
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType

_TOOLS = ("inspect", "annotationlib", "ast", "dis", "opcode", "_opcode_metadata")

# These name the tools as well. They use them where classes are made and functions decorated, or do without.
_CONTENT = {
    *("collections.abc", "dataclasses", "enum", "functools", "re._compiler", "traceback", "typing", "_py_warnings"),
    *("_ast", "proxywasm_entry", __name__, *_TOOLS),
}


def leave_out_tools() -> None:
    """To be called when the plugin has been imported. A later import of a tool, or use of one, says what to do."""
    if _may_be_wanted():
        return
    tools = [sys.modules.pop(name) for name in _TOOLS if name in sys.modules]
    for module in list(sys.modules.values()):
        for name, value in list(_globals(module).items()):
            if isinstance(value, ModuleType) and value in tools:
                setattr(module, name, _LeftOut(value.__name__))
    sys.meta_path.append(_Finder())


def _may_be_wanted() -> bool:
    return any(_imported()) or any(_named_in_code()) or any(_runtime_protocols())


def _imported() -> Iterator[bool]:
    """Whether modules hold tools, or what tools define."""
    for module_name, module in sys.modules.items():
        if module_name not in _CONTENT:
            for value in _globals(module).values():
                if isinstance(value, ModuleType):
                    yield value.__name__ in _TOOLS
                elif isinstance(value, FunctionType | type):
                    yield value.__module__ in _TOOLS


def _named_in_code() -> Iterator[bool]:
    """Whether functions may import tools when they are called."""
    for function in gc.get_objects():
        if isinstance(function, FunctionType) and function.__module__ not in _CONTENT:
            for code in _nested(function.__code__):
                yield any(name in _TOOLS for name in (*code.co_names, *code.co_consts) if isinstance(name, str))


def _runtime_protocols() -> Iterator[bool]:
    """Whether instances may be checked against protocols of the plugin, for which `typing` imports `inspect`."""
    typing = sys.modules.get("typing")
    for protocol in typing.Protocol.__subclasses__() if typing else ():
        if protocol.__module__.partition(".")[0] not in sys.stdlib_module_names:
            yield getattr(protocol, "_is_runtime_protocol", False)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _globals(module: object) -> dict[str, object]:
    return getattr(module, "__dict__", {})


def _error(name: str) -> ModuleNotFoundError:
    message = f"{name} was left out of the module, as only the build needed it; if the plugin imports it, it stays"
    return ModuleNotFoundError(message, name=name)


class _LeftOut:
    """Stands in the globals of a module for a tool."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> object:
        raise _error(self._name)


class _Finder:
    """Refuses imports of tools."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in _TOOLS:
            raise _error(name)
