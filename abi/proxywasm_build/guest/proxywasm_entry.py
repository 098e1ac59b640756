"""The module that componentize-py imports in the guest, once, at build time; then the heap is snapshotted.

It runs inside the guest's CPython. `proxywasm_plugin` is written by the build tool beside it: PLUGIN ("module:Class"),
TARGET, KEEP_DOCSTRINGS and KEEP_SOURCE (for readable tracebacks).
"""

import ast
import gc
import importlib
import importlib.machinery
import linecache
import sys

import wit_world  # type: ignore[import-not-found]  # made by componentize-py from the WIT world
from proxywasm_left_out import leave_out_tools  # type: ignore[import-not-found]
from proxywasm_plugin import (  # type: ignore[import-not-found]
    KEEP_DOCSTRINGS,
    KEEP_SOURCE,
    PLUGIN,
    TARGET,
)


class WitWorld(wit_world.WitWorld):  # type: ignore[misc]
    """The world's one export. Gateways do not call it: the C extension has the callbacks."""

    def initialise(self) -> None:
        pass


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body:
                case [ast.Expr(value=ast.Constant(value=str())) as first, *rest]:
                    node.body = rest or [ast.copy_location(ast.Pass(), first)]
    return tree


def _strip_docstrings_on_import() -> None:
    """Line numbers stay; assertions stay, which the interpreter's own -OO would drop."""

    def source_to_code(self: object, data: bytes, path: str, *, _optimization: int = -1) -> object:
        tree = _without_docstrings(ast.parse(data, path))
        return compile(tree, path, "exec", dont_inherit=True)

    importlib.machinery.SourceFileLoader.source_to_code = source_to_code  # type: ignore[method-assign, assignment]


def _keep_source() -> None:
    """Puts the source lines of imported modules where `traceback` finds them; there is no file system at run time."""
    importlib.import_module("unicodedata")  # `traceback` measures lines that are not ASCII with it
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if path and path.endswith(".py"):
            lines = linecache.getlines(path)
            linecache.cache[path] = (len(lines), None, lines, path)  # without a time it is not looked up again


def _start() -> None:
    module_name, _, class_name = PLUGIN.partition(":")
    module = importlib.import_module(module_name)
    root_class: object = module
    for part in class_name.split("."):
        root_class = getattr(root_class, part, None)
        if root_class is None:
            raise ImportError(f"module {module_name} has no class {class_name}")
    from proxywasm import RootContext, vm

    if not (isinstance(root_class, type) and issubclass(root_class, RootContext)):
        raise ImportError(f"{PLUGIN} is no subclass of proxywasm.RootContext but {root_class!r}")
    vm.start(root_class, TARGET)


if not KEEP_DOCSTRINGS:
    _strip_docstrings_on_import()
_start()
if KEEP_SOURCE:
    _keep_source()
else:
    linecache.clearcache()
    leave_out_tools()
gc.collect()
gc.freeze()  # what is in the snapshot lives for ever: the collector need not look at it again
