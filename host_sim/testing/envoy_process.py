"""Runs a real Envoy on free loopback ports."""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from .envoy_config import LISTENER_NAME, Json

READY_TIMEOUT_S = 120.0  # V8 compiles the whole module before Envoy is ready
STOP_TIMEOUT_S = 20.0
ADMIN_TIMEOUT_S = 10.0
LOG_TIMEOUT_S = 20.0
POLL_INTERVAL_S = 0.05
_LOG_TAIL_CHARS = 8_000


class EnvoyError(Exception):
    """Envoy did not start, or ended before it was told to; the text ends with its log."""


@dataclass(frozen=True, slots=True)
class Envoy:
    """A running Envoy. `ready_s` is the time from its start until it was ready to serve.

    `url` and `active_requests` are about `listener`.
    """

    process: "subprocess.Popen[bytes]"
    admin_url: str
    urls: Mapping[str, str]  # by the name of the listener
    ready_s: float
    log_path: Path
    listener: str = LISTENER_NAME

    @property
    def url(self) -> str:
        return self.urls[self.listener]

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait_for_log(self, text: str) -> None:
        """Waits until the log holds `text`; Envoy writes it with some delay. AssertionError after LOG_TIMEOUT_S."""
        deadline_s = time.monotonic() + LOG_TIMEOUT_S
        while text not in self.log():
            assert time.monotonic() < deadline_s, f"{text!r} is not in Envoy's log"
            time.sleep(POLL_INTERVAL_S)

    def stats(self, prefix: str) -> dict[str, int]:
        """Counters and gauges whose names start with `prefix`."""
        document = json.loads(_get(f"{self.admin_url}/stats?format=json"))
        return {
            stat["name"]: stat["value"]
            for stat in document["stats"]
            if stat.get("name", "").startswith(prefix) and "value" in stat
        }

    def active_requests(self) -> int:
        """Requests whose stream, filters included, is not yet torn down."""
        name = f"http.{self.listener}.downstream_rq_active"
        return self.stats(name)[name]


@contextmanager
def run_envoy(
    executable: Path, config: Json, directory: Path, concurrency: int = 1, wasm_log_level: str = "info"
) -> Iterator[Envoy]:
    """An Envoy that is ready to serve; `directory` takes its configuration and its log."""
    log_path, admin_address_path = directory / "envoy.log", directory / "admin-address"
    arguments = ["--log-path", str(log_path), "--admin-address-path", str(admin_address_path), "--disable-hot-restart"]
    arguments += ["--concurrency", str(concurrency), "--log-level", "info"]
    arguments += ["--component-log-level", f"wasm:{wasm_log_level}"]
    process = subprocess.Popen(
        [executable, "-c", _write(config, directory), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    started_s = time.monotonic()
    try:
        admin_url = _wait_until_ready(process, admin_address_path, log_path)
        ready_s = time.monotonic() - started_s
        yield Envoy(process, admin_url, _listener_urls(admin_url), ready_s, log_path)
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def validate(executable: Path, config: Json, directory: Path) -> str | None:
    """Loads the configuration and its module without serving. None if Envoy accepts them, else what it says."""
    result = subprocess.run(
        [executable, "--mode", "validate", "-c", _write(config, directory)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=READY_TIMEOUT_S,
    )
    return None if result.returncode == 0 else result.stderr + result.stdout


def _write(config: Json, directory: Path) -> str:
    path = directory / "envoy.json"
    path.write_text(json.dumps(config, indent=1))
    return str(path)


def _wait_until_ready(process: "subprocess.Popen[bytes]", admin_address_path: Path, log_path: Path) -> str:
    """The URL of the admin interface once it says that Envoy serves."""
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise EnvoyError(f"Envoy ended with {process.returncode}:\n{_tail(log_path)}")
        if admin_address_path.exists():
            admin_url = f"http://{admin_address_path.read_text()}"
            try:
                _get(f"{admin_url}/ready")
                return admin_url
            except OSError:  # not listening yet, or 503 while it initialises
                pass
        time.sleep(POLL_INTERVAL_S)
    raise EnvoyError(f"Envoy was not ready within {READY_TIMEOUT_S:.0f} s:\n{_tail(log_path)}")


def _listener_urls(admin_url: str) -> dict[str, str]:
    statuses = json.loads(_get(f"{admin_url}/listeners?format=json"))["listener_statuses"]
    addresses = {status["name"]: status["local_address"]["socket_address"] for status in statuses}
    return {name: f"http://{address['address']}:{address['port_value']}" for name, address in addresses.items()}


def _get(url: str) -> bytes:
    with urlopen(url, timeout=ADMIN_TIMEOUT_S) as response:
        body: bytes = response.read()
        return body


def _tail(log_path: Path) -> str:
    return log_path.read_text(errors="replace")[-_LOG_TAIL_CHARS:] if log_path.exists() else "(no log)"
