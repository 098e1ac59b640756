"""A Redis stand-in behind TCP, RESP2 only, as gateways speak it."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import TypeAlias

from .codec import RespError, RespValue, encode_reply, next_item
from .memory_redis import MemoryRedis

RECEIVE_SIZE_MAX = 64 * 1024
QUERY_SIZE_MAX = 64 * 1024 * 1024

Execute: TypeAlias = Callable[[list[bytes]], RespValue]


class RedisServer(ThreadingTCPServer):
    """`connect` is called for every connection and gives what executes its commands; one command runs at a time."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, host: str, port: int, connect: Callable[[], AbstractContextManager[Execute]]) -> None:
        self.connect = connect
        self.one_at_a_time = threading.Lock()
        super().__init__((host, port), _Connection)


def serve_memory(data: MemoryRedis, host: str, port: int) -> RedisServer:
    return RedisServer(host, port, lambda: nullcontext(data.session().execute))


class _Connection(BaseRequestHandler):
    server: RedisServer

    def handle(self) -> None:
        """Answers commands, pipelined ones too, until the client goes away or sends what is no command."""
        with self.server.connect() as execute:
            received = bytearray()
            while len(received) <= QUERY_SIZE_MAX:
                try:
                    data = self.request.recv(RECEIVE_SIZE_MAX)
                    if not data:
                        return
                    received += data
                    while (item := next_item(received)) is not None:
                        value, end = item
                        del received[:end]
                        self.request.sendall(encode_reply(self._answer(execute, _command(value))))
                except (ConnectionError, ValueError):
                    return

    def _answer(self, execute: Execute, command: list[bytes]) -> RespValue:
        if command[0] == b"HELLO":
            return RespError("NOPROTO unsupported protocol version")
        with self.server.one_at_a_time:
            return execute(command)


def _command(value: RespValue) -> list[bytes]:
    """Raises ValueError for what is no array of bulk strings."""
    if not isinstance(value, list) or not value:
        raise ValueError(f"not a command: {value!r}")
    command = [part for part in value if isinstance(part, bytes)]
    if len(command) != len(value):
        raise ValueError(f"not a command: {value!r}")
    return command
