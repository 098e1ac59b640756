"""Guests made of Python functions or of WAT, for the tests of the host core and of the wasm guest."""

from collections.abc import Callable
from typing import Any

import wasmtime

from host_sim.abi import ABI_HIGRESS, Target
from host_sim.errors import HostCallError
from host_sim.guest import Environment, HostCalls
from host_sim.stepped import SteppedSimulator

REQUEST = {":method": "POST", ":path": "/v1/chat", ":authority": "llm.example"}
CLUSTERS = {"llm": ["10.0.0.1:80", "10.0.0.2:80"]}


class ScriptedGuest:
    """A guest whose callbacks are Python functions `f(host_call, *arguments)`, keyed by name without `proxy_on_`."""

    def __init__(self, callbacks: dict[str, Callable[..., Any]], marker: str, host: HostCalls) -> None:
        self.abi_marker = marker
        self.instructions: int | None = None
        self.memory_size: int | None = None
        self.order: list[str] = []
        self._callbacks = callbacks
        self._host = host

    def exports(self, name: str) -> bool:
        return name.removeprefix("proxy_on_") in self._callbacks

    def call(self, name: str, *arguments: int) -> int | None:
        self.order.append(name.removeprefix("proxy_on_"))
        result: int | None = self._callbacks[self.order[-1]](self._call, *arguments)
        return result

    def close(self) -> None:
        pass

    def _call(self, name: str, *arguments: Any) -> Any:
        return self._host.host_call(f"proxy_{name}", *arguments)


class Play:
    """A simulator around a ScriptedGuest, and one stream of it."""

    def __init__(self, target: Target = "higress", marker: str = ABI_HIGRESS, **options: Any) -> None:
        self.callbacks: dict[str, Callable[..., Any]] = {}
        self.marker = marker
        self.options: dict[str, Any] = {"target": target, "clusters": CLUSTERS, **options}
        self.guest: Any = None  # the newest ScriptedGuest, once started
        self.factory: Any = None  # another one than that of `guest`

    def on(self, **callbacks: Callable[..., Any]) -> "Play":
        self.callbacks |= callbacks
        return self

    def start(self) -> Any:
        """A SteppedSimulator; Any, so that tests reach into what may be None without asserting it first."""

        def factory(target: Target, host: HostCalls, environment: Environment) -> ScriptedGuest:
            guest = self.guest = ScriptedGuest(self.callbacks, self.marker, host)
            return guest

        return SteppedSimulator(self.factory or factory, **self.options)


def status_of(call: Callable[..., Any], name: str, *arguments: Any) -> str:
    """The name of the status that a host call is refused with, or OK."""
    try:
        call(name, *arguments)
    except HostCallError as error:
        return error.status.name
    return "OK"


PREAMBLE = """
  (memory (export "memory") 2)
  (global $top (mut i32) (i32.const 65536))
  (func $malloc (export "malloc") (param i32) (result i32)
    (global.get $top)
    (global.set $top (i32.add (global.get $top) (i32.and (i32.add (local.get 0) (i32.const 7)) (i32.const -8)))))
  (func (export "proxy_abi_version_0_2_1"))
"""


def wat(body: str, preamble: str = PREAMBLE) -> bytes:
    """A module: imports first in `body` separated by `;;;` from the rest."""
    imports, _, rest = body.rpartition(";;;")
    return bytes(wasmtime.wat2wasm(f"(module {imports} {preamble} {rest})"))
