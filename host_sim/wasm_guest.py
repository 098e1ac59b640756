"""A plugin's .wasm in wasmtime.

The guest's memory is read and written in place: it never moves (`memory_may_move` is off), so one view of it stays good
until the memory grows, and a host call costs no crossing of the binding but the one that it came by.
"""

import hashlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import wasmtime
from wasmtime import Func, FuncType, ValType

from .abi import ABI_MARKERS, CALLABLE_AT_START, CALLBACKS, Target, host_calls, parameter_types
from .compiled_cache import CompiledCache
from .errors import GuestTrap, LoadError
from .guest import Environment, HostCalls
from .guest_memory import GuestMemory
from .host_functions import HostFunctions, no_memory
from .wasi import WASI_FUNCTIONS, WASI_MODULE, Wasi
from .wasm_crossing import Crossing

MEMORY_SIZE_MAX = 1 << 30  # Envoy's limit for a VM
STACK_SIZE_MAX = 960 * 1024  # about what V8 leaves to wasm frames in Envoy
FUEL_TANK = 1 << 62  # never runs out
INSTANTIATE_ATTEMPTS_MAX = 5


def _config(fuel: bool) -> wasmtime.Config:
    config = wasmtime.Config()
    config.consume_fuel = fuel
    config.memory_may_move = False
    config.max_wasm_stack = STACK_SIZE_MAX
    return config


class WasmFactory:
    """Compiles once; every call makes one more instance. `fuel` counts instructions at some cost of speed."""

    def __init__(self, source: str | Path | bytes, fuel: bool = False, cache: CompiledCache | None = None) -> None:
        self.fuel = fuel
        self.name = "a module" if isinstance(source, bytes) else str(source)
        try:
            wasm = source if isinstance(source, bytes) else Path(source).read_bytes()
        except OSError as error:
            raise LoadError(f"cannot read {self.name}: {error.strerror}") from error
        self.engine = wasmtime.Engine(_config(fuel))
        self.module = self._compile(wasm, cache if cache is not None else CompiledCache())

    def _compile(self, wasm: bytes, cache: CompiledCache) -> wasmtime.Module:
        settings = f"{version('wasmtime')} fuel={self.fuel} stack={STACK_SIZE_MAX}"
        key = hashlib.sha256(wasm + settings.encode()).hexdigest()
        module = cache.load(key, lambda path: wasmtime.Module.deserialize_file(self.engine, path))
        if module is None:
            try:
                module = wasmtime.Module(self.engine, wasm)
            except wasmtime.WasmtimeError as error:
                raise LoadError(f"{self.name} is not a valid wasm module: {error}") from error
            cache.store(key, module.serialize())
        return module

    def __call__(self, target: Target, host: HostCalls, environment: Environment) -> "WasmGuest":
        return WasmGuest(self, target, host, environment)


class WasmGuest:
    """guest.Guest over one instance."""

    def __init__(self, factory: WasmFactory, target: Target, host: HostCalls, environment: Environment) -> None:
        self._factory = factory
        self._memory = GuestMemory()
        self._host_functions = HostFunctions(self._memory, host)
        self._wasi = Wasi(self._memory, host, environment)
        self._store = wasmtime.Store(factory.engine)
        self._store.set_limits(memory_size=MEMORY_SIZE_MAX)
        self._fuel = factory.fuel
        if self._fuel:
            self._store.set_fuel(FUEL_TANK)
        self._allowed: frozenset[str] | None = frozenset()  # while starting; None: all
        self._functions: dict[str, Callable[..., int | None]] = {}
        self._crossing = Crossing(self._store)
        self._abi_marker = self._check_exports(target)
        self._linker = wasmtime.Linker(factory.engine)
        self._define_imports(target)
        self._instantiate()
        self._host_functions.allocate = self._functions.get("malloc") or self._functions["proxy_on_memory_allocate"]
        self._start()

    @property
    def abi_marker(self) -> str:
        return self._abi_marker

    @property
    def instructions(self) -> int | None:
        return FUEL_TANK - self._store.get_fuel() if self._fuel else None

    @property
    def memory_size(self) -> int:
        self._memory.check(0)
        return len(self._memory.view)

    def exports(self, name: str) -> bool:
        return name in self._functions

    def call(self, name: str, *arguments: int) -> int | None:
        try:
            return self._functions[name](*arguments)
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            raise GuestTrap(f"{name} trapped: {error}") from error

    def close(self) -> None:
        """The memory goes with the store: nothing may be called afterwards."""
        self._memory.detach()
        self._functions.clear()
        self._host_functions.allocate = no_memory
        self._linker.close()
        self._store.close()

    # Loading

    def _check_exports(self, target: Target) -> str:
        exports = {export.name: export.type for export in self._factory.module.exports}
        name = self._factory.name
        if not isinstance(exports.get("memory"), wasmtime.MemoryType):
            raise LoadError(f"{name} exports no memory called memory")
        if "malloc" not in exports and "proxy_on_memory_allocate" not in exports:
            raise LoadError(f"{name} exports no allocator: neither malloc nor proxy_on_memory_allocate")
        for export, (parameters, results) in CALLBACKS.items():
            found = exports.get(export)
            if found is not None and _signature(found) != (["i32"] * parameters, ["i32"] * results):
                raise LoadError(f"{name} exports {export} with a wrong signature: {_describe(found)}")
        markers = [export for export in exports if export in ABI_MARKERS[target]]
        if not markers:
            known = ", ".join(ABI_MARKERS[target])
            raise LoadError(f"{name} has no ABI marker that {target} knows; it must export one of {known}")
        return markers[0]

    def _define_imports(self, target: Target) -> None:
        calls = host_calls(target)
        for wanted in self._factory.module.imports:
            module, name = wanted.module, wanted.name or ""
            if module == "env" and name in calls:
                signature: tuple[list[str], list[str]] = (parameter_types(calls[name]), ["i32"])
                function = self._gated(name, self._host_functions.function(name, calls[name]))
            elif module == WASI_MODULE and name in WASI_FUNCTIONS:
                parameters = ["i64" if kind == "l" else "i32" for kind in WASI_FUNCTIONS[name]]
                signature = (parameters, [] if name == "proc_exit" else ["i32"])
                function = self._gated(name, self._wasi.function(name))
            else:
                raise LoadError(f"{self._factory.name} imports {module}.{name}, which {target} does not offer")
            if _signature(wanted.type) != signature:
                raise LoadError(
                    f"{self._factory.name} imports {module}.{name} with a wrong signature: {_describe(wanted.type)}"
                )
            self._crossing.define(self._linker, module, name, _func_type(*signature), function)

    def _instantiate(self) -> None:
        try:
            instance = _first_success(lambda: self._linker.instantiate(self._store, self._factory.module))
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            self._crossing.raise_error()
            raise LoadError(f"{self._factory.name} cannot be instantiated: {error}") from error
        exports = instance.exports(self._store)
        memory = exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        self._memory.attach(lambda: memoryview(memory.get_buffer_ptr(self._store)).cast("B"))
        self._functions = {
            name: self._crossing.function(item) for name, item in exports.items() if isinstance(item, Func)
        }

    def _start(self) -> None:
        """`_initialize` and a main if there is one, else `_start`; only few imports may be called meanwhile."""
        self._allowed = CALLABLE_AT_START
        try:
            if "_initialize" in self._functions:
                self.call("_initialize")
                if "main" in self._functions:
                    self.call("main", 0, 0)
                elif "__main_void" in self._functions:
                    self.call("__main_void")
            elif "_start" in self._functions:
                self.call("_start")
        except GuestTrap as error:
            raise LoadError(f"{self._factory.name}: {error}") from error
        self._allowed = None

    # Imports

    def _gated(self, name: str, body: Callable[..., int | None]) -> Callable[..., int | None]:
        def run(*arguments: int) -> int | None:
            if self._allowed is not None and name not in self._allowed:
                raise LoadError(f"{name} is called while the module starts; Envoy traps there")
            return body(*arguments)

        return run


def _first_success(instantiate: Callable[[], wasmtime.Instance]) -> wasmtime.Instance:
    """The first instance of a module also makes its memory image, a sealed memfd that later ones map.

    Sealing fails where the kernel holds one of its pages just then (EBUSY, seen under memory pressure); it passes.
    """
    for _ in range(INSTANTIATE_ATTEMPTS_MAX - 1):
        try:
            return instantiate()
        except wasmtime.WasmtimeError as error:
            if "memfd" not in str(error):
                raise
    return instantiate()


def _signature(found: object) -> tuple[list[str], list[str]]:
    if not isinstance(found, FuncType):
        return (["?"], ["?"])
    return ([str(kind) for kind in found.params], [str(kind) for kind in found.results])


def _describe(found: object) -> str:
    if not isinstance(found, FuncType):
        return "it is no function"
    parameters, results = _signature(found)
    return f"({', '.join(parameters)}) -> ({', '.join(results)})"


def _func_type(parameters: list[str], results: list[str]) -> FuncType:
    types = {"i32": ValType.i32, "i64": ValType.i64}
    return FuncType([types[kind]() for kind in parameters], [types[kind]() for kind in results])
