"""A host without semantics: it answers what a test says, and shows pointers and allocations as they are.

host_sim has the semantics of a gateway; here the boundary itself is tested, also with a host that behaves oddly.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import wasmtime

from host_sim.abi import HIGRESS_CALLS, HOST_CALLS

SIGNATURES = HOST_CALLS | HIGRESS_CALLS
OK, NOT_FOUND, EMPTY, INTERNAL_FAILURE = 0, 1, 7, 10
INFO, ERROR = 2, 4
FUEL = 1 << 60

Answer: TypeAlias = Callable[..., tuple[Any, ...] | int]


def engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    config.consume_fuel = True
    return wasmtime.Engine(config)


class GuestError(Exception):
    """An exception reached the guest's dispatcher; the text is what it logged."""


class RawHost:
    """One instance of a module. `answers[name]` takes the inputs of a host call and returns its results after a status.

    `calls` holds all calls but those of the harness: (name, *inputs). `log` holds (level, text).
    """

    def __init__(self, engine: wasmtime.Engine, module: wasmtime.Module) -> None:
        self.store = wasmtime.Store(engine)
        self.store.set_fuel(FUEL)
        self.answers: dict[str, Answer] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.log: list[tuple[int, str]] = []
        self.script = ""
        self.allocate: Callable[[int], int] = lambda size: self.call("malloc", size)
        linker = wasmtime.Linker(engine)
        for wanted in module.imports:
            assert isinstance(wanted.type, wasmtime.FuncType)
            name = wanted.name or ""
            linker.define_func(wanted.module, name, wanted.type, self._import(name))
        exports = linker.instantiate(self.store, module).exports(self.store)
        self.functions = {name: item for name, item in exports.items() if isinstance(item, wasmtime.Func)}
        memory = exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        self.memory = memory

    # The guest's side

    def call(self, name: str, *arguments: int) -> Any:
        result = self.functions[name](self.store, *arguments)
        return result if result is None else result & 0xFFFF_FFFF

    def instructions(self, name: str, *arguments: int) -> int:
        before = self.store.get_fuel()
        self.call(name, *arguments)
        return before - self.store.get_fuel()

    def pages(self) -> int:
        return self.memory.size(self.store)

    def run(self, script: str) -> None:
        """Runs a script in on_tick of context 1. Raises GuestError."""
        self.script = script
        del self.log[:]
        self.call("proxy_on_tick", 1)
        errors = [text for level, text in self.log if level == ERROR]
        if errors:
            raise GuestError("\n".join(errors))

    def evaluate(self, expression: str) -> str:
        """The repr of what an expression gives in the guest."""
        self.run(f"say(repr({expression}))")
        return self.log[-1][1]

    # Memory

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.memory.read(self.store, address & 0xFFFF_FFFF, (address & 0xFFFF_FFFF) + size))

    def write(self, address: int, data: bytes) -> None:
        self.memory.write(self.store, data, address & 0xFFFF_FFFF)

    def write_u32(self, address: int, value: int) -> None:
        self.write(address, (value & 0xFFFF_FFFF).to_bytes(4, "little"))

    def place(self, data: bytes) -> int:
        """Copies data into memory that the guest allocates."""
        address = self.allocate(len(data))
        self.write(address, data)
        return address

    # Host calls

    def _import(self, name: str) -> Callable[..., int]:
        if name == "proxy_log":
            return self._proxy_log
        if name == "random_get":
            return self._random_get
        if name not in SIGNATURES:
            return lambda *arguments: OK
        inputs, _, outputs = SIGNATURES[name].partition(":")
        return lambda *raw: self._host_call(name, inputs, outputs, list(raw))

    def _proxy_log(self, level: int, address: int, size: int) -> int:
        self.log.append((level, self.read(address, size).decode()))
        return OK

    def _random_get(self, address: int, size: int) -> int:
        self.write(address, bytes(size))
        return OK

    def _host_call(self, name: str, inputs: str, outputs: str, raw: list[int]) -> int:
        arguments: list[Any] = []
        for kind in inputs:
            value = raw.pop(0)
            arguments.append(self.read(value, raw.pop(0)) if kind in "sp" else value)
        if name == "proxy_get_property" and arguments == [b"script"]:
            status, *results = OK, self.script.encode()
        else:
            self.calls.append((name, *arguments))
            answer = self.answers.get(name, lambda *_: OK)(*arguments)
            status, *results = answer if isinstance(answer, tuple) else (answer,)
        for kind, result in zip(outputs, results, strict=False):
            self._put(kind, result, raw)
        return status

    def _put(self, kind: str, result: Any, raw: list[int]) -> None:
        """Writes a result; a result (address, size) of kind S or P was placed by the answer itself."""
        if kind == "u":
            self.write_u32(raw.pop(0), result)
        elif kind == "U":
            self.write(raw.pop(0), result.to_bytes(8, "little"))
        else:
            address, size = result if isinstance(result, tuple) else (self.place(result) if result else 0, len(result))
            self.write_u32(raw.pop(0), address)
            self.write_u32(raw.pop(0), size)
