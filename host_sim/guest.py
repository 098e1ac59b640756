"""A guest: one instance of a plugin, whatever runs it."""

from collections.abc import Callable
from typing import Any, Protocol

from .abi import Target
from .clock import Scheduler


class HostCalls(Protocol):
    """What a guest needs of its host."""

    def host_call(self, name: str, *arguments: Any) -> Any:
        """Run a host call of the ABI tables with Python values; HostCallError is its refusal."""

    def write_output(self, descriptor: int, text: bytes) -> None:
        """What a guest writes to standard output (1) and standard error (2): one log record per call."""


class Guest(Protocol):
    @property
    def abi_marker(self) -> str:
        """The name of the export that names the ABI version."""

    @property
    def instructions(self) -> int | None:
        """Spent so far, in wasmtime's fuel units; None when they are not counted."""

    @property
    def memory_size(self) -> int | None:
        """Bytes of linear memory; None for a guest without one."""

    def exports(self, name: str) -> bool: ...

    def call(self, name: str, *arguments: int) -> int | None:
        """Call an export; GuestTrap if it trapped. An exception of a host function comes out as it is."""

    def close(self) -> None: ...


class Environment(Protocol):
    """Where a guest gets time, randomness and environment variables from."""

    @property
    def scheduler(self) -> Scheduler: ...
    @property
    def random_bytes(self) -> Callable[[int], bytes]: ...
    @property
    def variables(self) -> dict[str, str]: ...


class GuestFactory(Protocol):
    """Makes one guest per VM; the guest has run `_initialize` when it returns."""

    def __call__(self, target: Target, host: HostCalls, environment: Environment) -> Guest: ...
