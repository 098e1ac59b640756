"""Stand-ins for what CPython asks of WASI preview 2, since a gateway has no such thing.

Time, random bytes, stdout and stderr are passed on to the host; environment, arguments, files and terminals are empty;
sockets cannot be made. Since no file or socket can be opened, the functions that work on one cannot be reached; they
name themselves in the log and return an error all the same, as a trap would end the VM.

Layouts follow the canonical ABI: a result too large for a register is written to the address given as last parameter;
`result<T, E>` is a byte 0 or 1 followed by the payload at the alignment of T and E.
"""

import re

from .component import Lowered
from .errors import BuildError
from .functions import Code, HostImport, Synthetic
from .program import Program
from .static_data import StaticData
from .targets import Target
from .wasm import assembler as asm
from .wasm.module import I32, FuncType

_INFO, _WARN, _ERROR = 2, 3, 4  # proxy-wasm log levels
_HANDLES = {"stdin": 0, "stdout": 1, "stderr": 2}  # of our own choice
_WRITE_SIZE_MAX = 65536
_NANOSECONDS = 1_000_000_000

# Error codes: the position in `enum error-code` of wasi:filesystem/types and of wasi:sockets/network.
_FILE_UNSUPPORTED = 27
_SOCKET_NOT_SUPPORTED = 2

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
        self._log = self._host("env", "proxy_log")
        self._random = self._host("wasi_snapshot_preview1", "random_get")
        self._malloc = program.exported(program.library("libc.so"), "malloc")
        scratch = data.reserve(8)
        # Reads the host's clock: leaves nanoseconds as an i64.
        self._now: Code = (
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
        """The replacement of a lowered function."""
        name = f"{re.sub('@.*', '', definition.interface)} {definition.name}"
        ret = max(len(type_.params) - 1, 0)  # the parameter that holds the address of a large result, if any
        code = self._code(name, ret) or self._unsupported(name, type_, ret)
        return Synthetic(f"wasi: {name}", type_, code, i32_locals=1)  # one local, after the parameters

    def _code(self, name: str, ret: int) -> Code | None:
        """What is emulated; None for the rest."""
        result, local = asm.local_get(ret), asm.local_get(ret + 1)
        if match := re.fullmatch(r"wasi:cli/std\w+ get-(\w+)", name):
            return (asm.i32_const(_HANDLES[match[1]]),)
        if re.match(r"wasi:cli/environment|wasi:filesystem/preopens", name):  # the empty list: aligned, not null
            return result, asm.i32_const(8), asm.i32_store(), result, asm.i32_const(0), asm.i32_store(4)
        if name.startswith("wasi:cli/terminal"):  # none
            return _store8(ret, 0, 0)
        if re.search(r"subscribe(-\w+)?$|instance-network$", name):
            return (asm.i32_const(0),)
        if name.endswith("pollable.block"):  # ready at once: a gateway cannot wait
            return (b"",)
        if name == "wasi:io/poll poll":  # a list of one: the first is ready
            return (
                *(asm.i32_const(4), self._malloc, asm.local_tee(ret + 1), asm.i32_const(0), asm.i32_store()),
                *(result, local, asm.i32_store(), result, asm.i32_const(1), asm.i32_store(4)),
            )
        if name.endswith("output-stream.check-write"):
            return *_store8(ret, 0, 0), result, asm.i64_const(_WRITE_SIZE_MAX), asm.i64_store(8)
        if name.endswith("output-stream.blocking-flush"):
            return _store8(ret, 0, 0)
        if re.search(r"output-stream\.(blocking-write-and-flush|write)$", name):
            is_stderr = (asm.local_get(0), asm.i32_const(_HANDLES["stderr"]), asm.I32_EQ)
            level = (asm.i32_const(_ERROR), asm.i32_const(_INFO), *is_stderr, asm.SELECT)
            return *level, asm.local_get(1), asm.local_get(2), self._log, asm.DROP, *_store8(ret, 0, 0)
        if name.endswith("input-stream.read"):  # error: closed
            return *_store8(ret, 0, 1), *_store8(ret, 4, 1)
        if name == "wasi:clocks/monotonic-clock now":
            return self._now
        if name == "wasi:clocks/monotonic-clock resolution":
            return (asm.i64_const(1),)
        if name == "wasi:clocks/wall-clock now":
            return (
                *(result, *self._now, asm.i64_const(_NANOSECONDS), asm.I64_DIV_U, asm.i64_store()),
                *(result, *self._now, asm.i64_const(_NANOSECONDS), asm.I64_REM_U, asm.I32_WRAP_I64, asm.i32_store(8)),
            )
        if name == "wasi:clocks/wall-clock resolution":
            return result, asm.i64_const(0), asm.i64_store(), result, asm.i32_const(1), asm.i32_store(8)
        if name == "wasi:random/random get-random-bytes":
            size = (asm.local_get(0), asm.I32_WRAP_I64)
            return (
                *(*size, self._malloc, asm.local_tee(ret + 1), *size, self._random, asm.DROP),
                *(result, local, asm.i32_store(), result, *size, asm.i32_store(4)),
            )
        return None

    def _unsupported(self, name: str, type_: FuncType, ret: int) -> Code:
        """Says its name in the log and returns an error."""
        address, size = self._data.text(f"{name}: not available in a gateway")
        log = (asm.i32_const(_WARN), asm.i32_const(address), asm.i32_const(size), self._log, asm.DROP)
        if type_.results:
            return *log, asm.i32_const(0)
        if name == "wasi:cli/exit exit":  # libc traps behind it: there is nothing to return to
            return log
        offset = next((offset for offset, pattern in _ERROR_OFFSETS if re.search(pattern, name)), 1)
        error = _FILE_UNSUPPORTED if "filesystem" in name else _SOCKET_NOT_SUPPORTED
        return *log, *_store8(ret, 0, 1), *_store8(ret, offset, error)


def _store8(parameter: int, offset: int, value: int) -> Code:
    return asm.local_get(parameter), asm.i32_const(value), asm.i32_store8(offset)
