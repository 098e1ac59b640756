"""Uses what CPython has of an operating system, and says in a response header what came of it."""

import json
import os
import random
import select
import socket
import sys
import time
from collections.abc import Callable

from proxywasm import HttpContext, RootContext


def outcome(action: Callable[[], object]) -> object:
    try:
        return action()
    except Exception as error:
        return type(error).__name__


def observations() -> dict[str, object]:
    print("to", "stdout")
    print("to stderr", file=sys.stderr)
    os.write(1, b"raw stdout\n")
    return {
        "time": time.time(),
        "monotonic": time.monotonic_ns(),
        "sleep": outcome(lambda: time.sleep(0.01)),
        "random": random.random(),
        "urandom": os.urandom(8).hex(),
        "open": outcome(lambda: open("/etc/passwd")),
        "listdir": outcome(lambda: os.listdir("/")),
        "socket": outcome(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)),
        "resolve": outcome(lambda: socket.getaddrinfo("localhost", 80)),
        "select": outcome(lambda: select.select([], [], [], 0)),
        "stdin": outcome(lambda: os.read(0, 10).decode()),
        "environ": dict(os.environ),
        "argv": sys.argv,
    }


class WasiProbeHttp(HttpContext):
    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        self.request_headers.set("x-observations", json.dumps(observations()))
        return None


class WasiProbe(RootContext):
    http_context = WasiProbeHttp
