"""fakeredis behind TCP.

The server that comes with fakeredis ends a connection at the first error reply, so that a filter never sees NOSCRIPT.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import fakeredis
from redis.exceptions import NoScriptError, ResponseError

from .codec import RespError, RespValue
from .redis_server import Execute, RedisServer


class FakeRedisServer(RedisServer):
    """One data set for all connections. Status replies come as bulk strings, all else as Redis writes it."""

    def __init__(self, host: str, port: int) -> None:
        self.data = fakeredis.FakeServer(server_type="redis")
        super().__init__(host, port, self._session)

    @contextmanager
    def _session(self) -> Iterator[Execute]:
        with fakeredis.FakeRedis(server=self.data, protocol=2) as client:
            yield lambda command: _answer(client, command)


def _answer(client: fakeredis.FakeRedis, command: list[bytes]) -> RespValue:
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
