import threading
from collections.abc import Iterator

import pytest
import redis

from host_sim.fake_redis import FakeRedisServer


@pytest.fixture
def client() -> Iterator[redis.Redis]:
    with FakeRedisServer("127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with redis.Redis(port=server.server_address[1], protocol=2, socket_timeout=10) as client:
            yield client
        server.shutdown()
        thread.join()


def test_replies_of_every_kind(client: redis.Redis) -> None:
    assert client.ping()
    assert client.set("k", b"\x00\r\n\xff")
    assert client.get("k") == b"\x00\r\n\xff"
    assert client.get("none") is None
    assert client.incr("n", 3) == 3
    assert client.eval("return {1, 'a', {redis.call('GET', KEYS[1])}, false}", 1, "n") == [1, b"a", [b"3"], None]


def test_an_error_leaves_the_connection_open(client: redis.Redis) -> None:
    with pytest.raises(redis.exceptions.NoScriptError):
        client.evalsha("0" * 40, 0)
    with pytest.raises(redis.exceptions.ResponseError, match="unknown command"):
        client.execute_command("NOSUCH")
    client.set("k", "v")
    with pytest.raises(redis.exceptions.ResponseError, match="WRONGTYPE"):
        client.lpush("k", "v")
    assert client.get("k") == b"v"


def test_the_newer_protocol_is_refused(client: redis.Redis) -> None:
    with pytest.raises(redis.exceptions.ResponseError, match="NOPROTO"):
        client.execute_command("HELLO", 3)


def test_pipelined_commands_are_answered_in_order(client: redis.Redis) -> None:
    pipeline = client.pipeline(transaction=False)
    for number in range(1000):
        pipeline.echo(str(number))
    assert pipeline.execute() == [str(number).encode() for number in range(1000)]


def test_connections_share_the_data(client: redis.Redis) -> None:
    client.set("k", "v")
    port = client.connection_pool.connection_kwargs["port"]
    with redis.Redis(port=port, protocol=2) as other:
        assert other.get("k") == b"v"
