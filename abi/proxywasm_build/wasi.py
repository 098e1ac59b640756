"""Stand-ins for what CPython asks of WASI preview 2, since a gateway has no such thing.

Time, random bytes, stdout and stderr are passed on to the host; environment, arguments, files and terminals are empty;
sockets cannot be made. Since no file or socket can be opened, the functions that work on one cannot be reached; they
name themselves in the log and return an error all the same, as a trap would end the VM.

Layouts follow the canonical ABI: a result too large for a register is written to the address given as last parameter,
here `ret`; `result<T, E>` is a byte 0 or 1 followed by the payload at the alignment of T and E.
"""

import re
from collections.abc import Callable

from .component import Lowered
from .errors import BuildError
from .functions import Code, HostImport, Synthetic
from .program import Program
from .static_data import StaticData
from .targets import Target
from .wasm import assembler as asm
from .wasm.module import I32, FuncType

_INFO, _WARN, _ERROR = 2, 3, 4  # proxy-wasm log levels
_STDIN, _STDOUT, _STDERR = 0, 1, 2  # handles of our own choice
_WRITE_SIZE_MAX = 65536
_NANOSECONDS = 1_000_000_000

# Error codes: the position in `enum error-code` of wasi:filesystem/types and of wasi:sockets/network.
_FILE_UNSUPPORTED = 27
_SOCKET_NOT_SUPPORTED = 2
_STREAM_CLOSED = 1

# Where the error code stands if not at 1: results whose payload is aligned to 4 or 8.
_ERROR_OFFSETS = [
    (8, r"descriptor\.(stat|stat-at|write|metadata-hash|metadata-hash-at)$"),
    (8, r"(buffer-size|keep-alive-idle-time|keep-alive-interval|check-send|\.send)$"),
    (4, r"descriptor\.(read|.*-via-stream|read-directory|open-at|readlink-at)$|read-directory-entry$"),
    (4, r"(udp-socket\.stream|accept|finish-connect|local-address|remote-address|keep-alive-count|receive)$"),
    (4, r"(resolve-addresses|resolve-next-address|create-tcp-socket|create-udp-socket)$"),
]


class WasiStubs:
    """Makes the functions that replace lowered WASI imports."""

    def __init__(self, program: Program, target: Target, data: StaticData) -> None:
        self._data = data
        self._target = target
        self.log = self._host("env", "proxy_log")
        self.random = self._host("wasi_snapshot_preview1", "random_get")
        self.malloc = program.exported(program.library("libc.so"), "malloc")
        scratch = data.reserve(8)
        # Reads the host's clock: leaves nanoseconds as an i64.
        self.now: Code = (
            *(asm.i32_const(scratch), self._host("env", "proxy_get_current_time_nanoseconds"), asm.DROP),
            *(asm.i32_const(scratch), asm.i64_load()),
        )

    def _host(self, module: str, name: str) -> HostImport:
        type_ = self._target.offers(module, name)
        if type_ is None:
            raise BuildError(f"the target {self._target.name} has no {module}.{name}, which CPython needs")
        return HostImport(module, name, type_)

    def drop_handle(self) -> Synthetic:
        return Synthetic("wasi: drop a handle", FuncType(bytes([I32]), b""), ())

    def stub(self, definition: Lowered, type_: FuncType) -> Synthetic:
        """The replacement of a lowered function. It has one local of type i32, behind its parameters."""
        name = f"{re.sub('@.*', '', definition.interface)} {definition.name}"
        ret = max(len(type_.params) - 1, 0)
        for pattern, emulate in _EMULATED:
            if re.fullmatch(pattern, name):
                return Synthetic(f"wasi: {name}", type_, emulate(self, ret), i32_locals=1)
        return Synthetic(f"wasi: {name}", type_, self._unsupported(name, type_, ret), i32_locals=1)

    def _unsupported(self, name: str, type_: FuncType, ret: int) -> Code:
        """Says its name in the log and returns an error."""
        address, size = self._data.text(f"{name}: not available in a gateway")
        log = (asm.i32_const(_WARN), asm.i32_const(address), asm.i32_const(size), self.log, asm.DROP)
        if type_.results:
            return *log, asm.i32_const(0)
        if name == "wasi:cli/exit exit":  # libc traps behind it: there is nothing to return to
            return log
        offset = next((offset for offset, pattern in _ERROR_OFFSETS if re.search(pattern, name)), 1)
        error = _FILE_UNSUPPORTED if "filesystem" in name else _SOCKET_NOT_SUPPORTED
        return *log, *_store8(ret, 0, 1), *_store8(ret, offset, error)


def _store8(parameter: int, offset: int, value: int) -> Code:
    return asm.local_get(parameter), asm.i32_const(value), asm.i32_store8(offset)


def _store(parameter: int, offset: int, *value: bytes) -> Code:
    return asm.local_get(parameter), *value, asm.i32_store(offset)


def _constant(value: int) -> Callable[[WasiStubs, int], Code]:
    return lambda stubs, ret: (asm.i32_const(value),)


def _nothing(stubs: WasiStubs, ret: int) -> Code:
    return ()


def _ok(stubs: WasiStubs, ret: int) -> Code:
    """`ok` without a payload, or the `none` of an option."""
    return _store8(ret, 0, 0)


def _empty_list(stubs: WasiStubs, ret: int) -> Code:
    return *_store(ret, 0, asm.i32_const(8)), *_store(ret, 4, asm.i32_const(0))  # aligned and not null


def _first_is_ready(stubs: WasiStubs, ret: int) -> Code:
    """The list [0]: nothing can be waited for, so what was asked for is ready."""
    made = ret + 1
    return (
        *(asm.i32_const(4), stubs.malloc, asm.local_tee(made), asm.i32_const(0), asm.i32_store()),
        *(*_store(ret, 0, asm.local_get(made)), *_store(ret, 4, asm.i32_const(1))),
    )


def _may_write(stubs: WasiStubs, ret: int) -> Code:
    return *_store8(ret, 0, 0), asm.local_get(ret), asm.i64_const(_WRITE_SIZE_MAX), asm.i64_store(8)


def _write(stubs: WasiStubs, ret: int) -> Code:
    """(stream, address, size): a log record, of level ERROR on stderr and INFO on stdout."""
    is_stderr = (asm.local_get(0), asm.i32_const(_STDERR), asm.I32_EQ)
    level = (asm.i32_const(_ERROR), asm.i32_const(_INFO), *is_stderr, asm.SELECT)
    return *level, asm.local_get(1), asm.local_get(2), stubs.log, asm.DROP, *_store8(ret, 0, 0)


def _closed(stubs: WasiStubs, ret: int) -> Code:
    return *_store8(ret, 0, 1), *_store8(ret, 4, _STREAM_CLOSED)


def _now(stubs: WasiStubs, ret: int) -> Code:
    return stubs.now


def _nanosecond(stubs: WasiStubs, ret: int) -> Code:
    return (asm.i64_const(1),)


def _wall_clock(stubs: WasiStubs, ret: int) -> Code:
    """Seconds as u64, then nanoseconds as u32."""
    second = asm.i64_const(_NANOSECONDS)
    return (
        *(asm.local_get(ret), *stubs.now, second, asm.I64_DIV_U, asm.i64_store()),
        *(asm.local_get(ret), *stubs.now, second, asm.I64_REM_U, asm.I32_WRAP_I64, asm.i32_store(8)),
    )


def _wall_clock_resolution(stubs: WasiStubs, ret: int) -> Code:
    return asm.local_get(ret), asm.i64_const(0), asm.i64_store(), *_store(ret, 8, asm.i32_const(1))


def _random_bytes(stubs: WasiStubs, ret: int) -> Code:
    """(size as u64): a list."""
    size, made = (asm.local_get(0), asm.I32_WRAP_I64), ret + 1
    return (
        *(*size, stubs.malloc, asm.local_tee(made), *size, stubs.random, asm.DROP),
        *(*_store(ret, 0, asm.local_get(made)), *_store(ret, 4, *size)),
    )


# The first pattern that matches the whole name decides.
_EMULATED: list[tuple[str, Callable[[WasiStubs, int], Code]]] = [
    (r"wasi:cli/stdin get-stdin", _constant(_STDIN)),
    (r"wasi:cli/stdout get-stdout", _constant(_STDOUT)),
    (r"wasi:cli/stderr get-stderr", _constant(_STDERR)),
    (r"wasi:cli/environment .*|wasi:filesystem/preopens .*", _empty_list),
    (r"wasi:cli/terminal-.*", _ok),
    (r"wasi:io/poll \[method\]pollable\.block", _nothing),
    (r"wasi:io/poll poll", _first_is_ready),
    (r".* \[method\].*\.subscribe|.* subscribe-(instant|duration)|.* instance-network", _constant(0)),
    (r"wasi:io/streams \[method\]output-stream\.check-write", _may_write),
    (r"wasi:io/streams \[method\]output-stream\.blocking-flush", _ok),
    (r"wasi:io/streams \[method\]output-stream\.(blocking-write-and-flush|write)", _write),
    (r"wasi:io/streams \[method\]input-stream\.read", _closed),
    (r"wasi:clocks/monotonic-clock now", _now),
    (r"wasi:clocks/monotonic-clock resolution", _nanosecond),
    (r"wasi:clocks/wall-clock now", _wall_clock),
    (r"wasi:clocks/wall-clock resolution", _wall_clock_resolution),
    (r"wasi:random/random get-random-bytes", _random_bytes),
]
