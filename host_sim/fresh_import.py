"""Importing a plugin anew, beside whatever the process has imported of it.

A VM has its own copy of all module state. So the plugin's package and the SDK are imported freshly for each native VM,
together with the two standard modules whose state is process-wide and that plugins change: logging and random.
"""

import atexit
import importlib
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

_FRESH_STANDARD_MODULES = ("logging", "random")


class FreshImport:
    """The modules of one VM. `package` is the plugin's top-level package or module."""

    def __init__(self, package: str, host_module: ModuleType, random_bytes: Callable[[int], bytes]) -> None:
        self._roots = (package, "proxywasm", *_FRESH_STANDARD_MODULES)
        self._modules: dict[str, ModuleType] = {"_proxywasm": host_module}
        self._random_bytes = random_bytes

    def load(self, module_name: str) -> ModuleType:
        """Import `module_name` in this VM; the process's own modules are back in place when it returns."""
        outside = {name: sys.modules.pop(name) for name in list(sys.modules) if self._is_ours(name)}
        sys.modules.update(self._modules)
        try:
            if "random" not in self._modules:
                self._import_standard()
            return importlib.import_module(module_name)
        finally:
            self._take_ours()
            sys.modules.update(outside)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """While a callback runs, an import finds the modules of this VM."""
        outside = {name: sys.modules[name] for name in self._modules if name in sys.modules}
        sys.modules.update(self._modules)
        count = len(sys.modules)
        try:
            yield
        finally:
            if len(sys.modules) != count:
                self._take_ours()
            else:
                for name in self._modules:
                    del sys.modules[name]
            sys.modules.update(outside)

    def _take_ours(self) -> None:
        self._modules = {name: sys.modules.pop(name) for name in list(sys.modules) if self._is_ours(name)}

    def forget(self) -> None:
        """Cut what the interpreter still holds of this VM's logging."""
        logging = self._modules.get("logging")
        if logging is not None:
            logging.root.handlers.clear()
            logging.Logger.manager.loggerDict.clear()
        self._modules.clear()

    def _is_ours(self, name: str) -> bool:
        return name == "_proxywasm" or name.partition(".")[0] in self._roots

    def _import_standard(self) -> None:
        """Without what these modules register with the interpreter for ever: that would keep every VM alive."""
        register_at_fork, os.register_at_fork = os.register_at_fork, lambda **callbacks: None
        try:
            logging = importlib.import_module("logging")
            fresh_random = importlib.import_module("random")
        finally:
            os.register_at_fork = register_at_fork
        atexit.unregister(logging.shutdown)
        _seed_from(fresh_random, self._random_bytes)


def _seed_from(module: ModuleType, random_bytes: Callable[[int], bytes]) -> None:
    """`random.seed()` without an argument takes the host's randomness, so that a run repeats from the host's seed."""
    generator: random.Random = module._inst

    def seed(value: int | float | str | bytes | bytearray | None = None, version: int = 2) -> None:
        generator.seed(random_bytes(32) if value is None else value, version)

    vars(module)["seed"] = seed
    seed()
