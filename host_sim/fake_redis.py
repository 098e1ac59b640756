"""fakeredis behind TCP, RESP2 only, as gateways speak it.

The server that comes with fakeredis ends a connection at the first error reply, so that a filter never sees NOSCRIPT.
"""

from socketserver import BaseRequestHandler, ThreadingTCPServer

import fakeredis
from redis.exceptions import NoScriptError, ResponseError

from .codec import RespError, RespValue, decode_reply, encode_reply, reply_end

RECEIVE_SIZE_MAX = 64 * 1024
QUERY_SIZE_MAX = 64 * 1024 * 1024


class FakeRedisServer(ThreadingTCPServer):
    """One data set for all connections. Status replies come as bulk strings, all else as Redis writes it."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        self.data = fakeredis.FakeServer(server_type="redis")
        super().__init__((host, port), _Connection)


class _Connection(BaseRequestHandler):
    server: FakeRedisServer

    def handle(self) -> None:
        """Answers commands, pipelined ones too, until the client goes away or sends what is no command."""
        with fakeredis.FakeRedis(server=self.server.data, protocol=2) as client:
            received = bytearray()
            while len(received) <= QUERY_SIZE_MAX:
                try:
                    data = self.request.recv(RECEIVE_SIZE_MAX)
                    if not data:
                        return
                    received += data
                    while (end := reply_end(received)) is not None:
                        self.request.sendall(encode_reply(_answer(client, decode_reply(bytes(received[:end])))))
                        del received[:end]
                except (ConnectionError, ValueError):
                    return


def _answer(client: fakeredis.FakeRedis, command: RespValue) -> RespValue:
    """The raw reply; raises ValueError for what is no array of bulk strings."""
    if not isinstance(command, list) or not command:
        raise ValueError(f"not a command: {command!r}")
    if command[0] == b"HELLO":
        return RespError("NOPROTO unsupported protocol version")
    connection = client.connection_pool.get_connection()
    try:
        connection.send_command(*command)  # type: ignore[no-untyped-call]
        reply: RespValue = connection.read_response()
        return reply
    except NoScriptError as error:
        return RespError(f"NOSCRIPT {error}")  # redis-py has cut the code off
    except ResponseError as error:
        code = str(error).partition(" ")[0]
        return RespError(str(error) if code.isupper() else f"ERR {error}")
    finally:
        client.connection_pool.release(connection)
