"""The 18 functions of WASI preview 1 that every Envoy from 1.36 to 1.40 offers, with Envoy's answers."""

from collections.abc import Callable
from typing import Protocol

from .guest import Environment, HostCalls

WASI_MODULE = "wasi_snapshot_preview1"
RANDOM_SIZE_MAX = 65_536
SUCCESS, BADF, FAULT, INVAL, NOENT, NOTSUP = 0, 8, 21, 28, 44, 58
_STDOUT, _STDERR = 1, 2
_CLOCK_REALTIME, _CLOCK_MONOTONIC = 0, 1
_RIGHTS_FD_WRITE = 64
_SUBSCRIPTION_SIZE, _EVENT_SIZE = 48, 32
_EVENT_CLOCK = 0

# Parameters, one character each: i for i32, l for i64. All return an errno as i32 but proc_exit, which returns nothing.
WASI_FUNCTIONS: dict[str, str] = {
    "fd_write": "iiii",
    "fd_read": "iiii",
    "fd_seek": "ilii",
    "fd_close": "i",
    "fd_fdstat_get": "ii",
    "fd_fdstat_set_flags": "ii",
    "environ_get": "ii",
    "environ_sizes_get": "ii",
    "args_get": "ii",
    "args_sizes_get": "ii",
    "clock_time_get": "ili",
    "random_get": "ii",
    "sched_yield": "",
    "poll_oneoff": "iiii",
    "proc_exit": "i",
    "path_open": "iiiiillii",
    "fd_prestat_get": "ii",
    "fd_prestat_dir_name": "iii",
}


class MemoryFault(Exception):
    """An address outside the guest's memory."""


class Memory(Protocol):
    """The guest's linear memory; every access outside raises MemoryFault."""

    def read(self, address: int, size: int) -> bytes: ...
    def write(self, address: int, data: bytes) -> None: ...


class Wasi:
    """One guest's WASI."""

    def __init__(self, memory: Memory, host: HostCalls, environment: Environment) -> None:
        self._memory = memory
        self._host = host
        self._environment = environment
        self._variables = [f"{key}={value}\0".encode() for key, value in environment.variables.items()]

    def function(self, name: str) -> Callable[..., int | None]:
        """The function to be imported as `name`; parameters come as Python ints, addresses unsigned."""
        body: Callable[..., int | None] = getattr(self, f"_{name}")

        def run(*arguments: int) -> int | None:
            try:
                return body(*[argument & 0xFFFF_FFFF for argument in arguments])
            except MemoryFault:
                return FAULT

        return run

    def _put_u32(self, address: int, value: int) -> None:
        self._memory.write(address, value.to_bytes(4, "little"))

    def _put_u64(self, address: int, value: int) -> None:
        self._memory.write(address, value.to_bytes(8, "little"))

    def _get_u32(self, address: int) -> int:
        return int.from_bytes(self._memory.read(address, 4), "little")

    def _fd_write(self, descriptor: int, vectors: int, count: int, written: int) -> int:
        if descriptor not in (_STDOUT, _STDERR):
            return BADF
        parts = []
        for at in range(vectors, vectors + 8 * count, 8):
            parts.append(self._memory.read(self._get_u32(at), self._get_u32(at + 4)))
        text = b"".join(parts)
        self._host.write_output(descriptor, text.removesuffix(b"\n"))
        self._put_u32(written, len(text))
        return SUCCESS

    def _fd_read(self, descriptor: int, vectors: int, count: int, read: int) -> int:
        return BADF

    def _fd_seek(self, descriptor: int, offset: int, whence: int, position: int) -> int:
        return NOTSUP

    def _fd_close(self, descriptor: int) -> int:
        return NOTSUP

    def _fd_fdstat_get(self, descriptor: int, out: int) -> int:
        if descriptor not in (_STDOUT, _STDERR):
            return BADF
        self._put_u64(out, 0)
        self._put_u64(out + 8, _RIGHTS_FD_WRITE)
        self._put_u64(out + 16, 0)
        return SUCCESS

    def _fd_fdstat_set_flags(self, descriptor: int, flags: int) -> int:
        return NOTSUP

    def _environ_get(self, pointers: int, strings: int) -> int:
        for variable in self._variables:
            self._put_u32(pointers, strings)
            self._memory.write(strings, variable)
            pointers += 4
            strings += len(variable)
        return SUCCESS

    def _environ_sizes_get(self, count: int, size: int) -> int:
        self._put_u32(count, len(self._variables))
        self._put_u32(size, sum(map(len, self._variables)))
        return SUCCESS

    def _args_get(self, pointers: int, strings: int) -> int:
        return SUCCESS

    def _args_sizes_get(self, count: int, size: int) -> int:
        self._put_u32(count, 0)
        self._put_u32(size, 0)
        return SUCCESS

    def _clock_time_get(self, clock: int, precision: int, out: int) -> int:
        scheduler = self._environment.scheduler
        if clock == _CLOCK_REALTIME:
            self._put_u64(out, scheduler.realtime_ns())
        elif clock == _CLOCK_MONOTONIC:
            self._put_u64(out, scheduler.monotonic_ns())
        else:
            return NOTSUP
        return SUCCESS

    def _random_get(self, out: int, size: int) -> int:
        if size > RANDOM_SIZE_MAX:
            return INVAL
        self._memory.write(out, self._environment.random_bytes(size))
        return SUCCESS

    def _sched_yield(self) -> int:
        return SUCCESS

    def _poll_oneoff(self, subscriptions: int, events: int, count: int, ready: int) -> int:
        """Does not sleep: clocks are ready at once, descriptors are not supported."""
        if not count:
            return INVAL
        for at in range(count):
            subscription = self._memory.read(subscriptions + at * _SUBSCRIPTION_SIZE, _SUBSCRIPTION_SIZE)
            kind = subscription[8]
            errno = SUCCESS if kind == _EVENT_CLOCK else NOTSUP
            event = subscription[:8] + errno.to_bytes(2, "little") + bytes([kind])
            self._memory.write(events + at * _EVENT_SIZE, event.ljust(_EVENT_SIZE, b"\0"))
        self._put_u32(ready, count)
        return SUCCESS

    def _proc_exit(self, code: int) -> None:
        """Returns to the guest, as on Envoy."""

    def _path_open(self, *arguments: int) -> int:
        return NOENT

    def _fd_prestat_get(self, descriptor: int, out: int) -> int:
        return BADF

    def _fd_prestat_dir_name(self, descriptor: int, path: int, size: int) -> int:
        return BADF
