"""One suite for all Redis backends: what a plugin's calls come to must not depend on which of them answers."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest
import redis

from host_sim.clock import LoopScheduler, ManualScheduler
from host_sim.codec import RespError, decode_reply, encode_command
from host_sim.embedded_redis import EmbeddedRedis
from host_sim.memory_redis import MemoryRedis
from host_sim.redis_backend import Fault, RedisBackend, ScriptedRedis, TcpRedis
from host_sim.redis_client import RedisClient, RedisSettings
from host_sim.virtual import CommandFault, TimedRedis

OK, NETWORK_ERROR = 0, 1
PASSWORD = "secret"
NEVER_ANSWERED = ["BLPOP", "nothing", "0"]  # on a real server; the others are told so
TIMEOUT_MS = 10_000
SHORT_TIMEOUT_MS = 500  # where it is waited for
WAIT_S = 30


class Backend(Protocol):
    """`play(settings, *rounds)`: the calls of a round go out together, the next round follows when they have ended."""

    def play(self, settings: RedisSettings, *rounds: list[list[str]]) -> list[tuple[int, Any]]: ...
    def close(self) -> None: ...


class Real:
    def __init__(self, server: EmbeddedRedis, password: str = "") -> None:
        self.port = server.port
        with server.client() as client:
            client.flushall()
            client.script_flush()
            client.config_set("requirepass", password)
        self.server = server
        self.password = password

    def close(self) -> None:
        with redis.Redis(port=self.port, password=self.password or None, protocol=2) as client:
            client.config_set("requirepass", "")

    def play(self, settings, *rounds):
        return asyncio.run(self._play(settings, rounds))

    async def _play(self, settings, rounds):
        client = RedisClient(TcpRedis("127.0.0.1", self.port), settings, LoopScheduler())
        ends: list[tuple[int, Any]] = []
        for queries in rounds:
            futures = [asyncio.get_running_loop().create_future() for _ in queries]
            for query, future in zip(queries, futures, strict=True):
                client.call(encode_command(query), settle(future))
            ends += await asyncio.wait_for(asyncio.gather(*futures), WAIT_S)
        client.close()
        return ends


def settle(future: "asyncio.Future[tuple[int, Any]]") -> Callable[[int, bytes], None]:
    return lambda status, reply: future.set_result(end(status, reply))


def end(status: int, reply: bytes) -> tuple[int, Any]:
    if status != OK:
        assert reply == b""
        return NETWORK_ERROR, None
    value = decode_reply(reply)
    return OK, str(value).partition(" ")[0] if isinstance(value, RespError) else value


class InMemory:
    """A backend on a clock that stands still."""

    def __init__(self, make: Callable[[MemoryRedis, ManualScheduler], RedisBackend], password: str = "") -> None:
        self.scheduler = ManualScheduler()
        self.backend = make(MemoryRedis(self.scheduler.realtime_ns, password), self.scheduler)

    def close(self) -> None:
        pass

    def play(self, settings, *rounds):
        client = RedisClient(self.backend, settings, self.scheduler)
        ends: list[tuple[int, Any]] = []
        for queries in rounds:
            for query in queries:
                client.call(encode_command(query), lambda status, reply: ends.append(end(status, reply)))
            self.scheduler.advance(TIMEOUT_MS * 2)
        client.close()
        return ends


def timed(memory: MemoryRedis, scheduler: ManualScheduler) -> RedisBackend:
    return TimedRedis(memory, scheduler, fault=lambda command: CommandFault.NEVER if command[0] == b"BLPOP" else None)


def scripted(memory: MemoryRedis, scheduler: ManualScheduler) -> RedisBackend:
    session = memory.session()
    return ScriptedRedis(lambda command: Fault.NEVER if command[0] == b"BLPOP" else session.execute(command))


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as embedded:
        if embedded.kind == "fakeredis":
            pytest.skip("fakeredis knows no CONFIG SET")
        yield embedded


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., Backend]]:
    """Makes the backend that the test's parameter names, empty."""
    made: list[Backend] = []

    def backend(kind: str, password: str = "") -> Backend:
        if kind == "real":
            made.append(Real(request.getfixturevalue("server"), password))
        else:
            made.append(InMemory(timed if kind == "timed" else scripted, password))
        return made[-1]

    yield backend
    for item in made:
        item.close()


every_backend = pytest.mark.parametrize("kind", ["real", "timed", "scripted"])
with_sessions = pytest.mark.parametrize("kind", ["real", "timed"])


def settings(timeout_ms: int = TIMEOUT_MS, **fields: Any) -> RedisSettings:
    return RedisSettings(timeout_ms=timeout_ms, **fields)


@every_backend
def test_replies_of_every_kind(make, kind):
    queries = ["SET k v", "GET k", "GET none", "INCR n", "HSET h a 1", "HMGET h a b", "HGET k a", "NO SUCH", "DEL k n"]
    ends = make(kind).play(settings(), [query.split() for query in queries])
    assert ends == [
        (OK, b"OK"),
        (OK, b"v"),
        (OK, None),
        (OK, 1),
        (OK, 1),
        (OK, [b"1", None]),
        (OK, "WRONGTYPE"),
        (OK, "ERR"),
        (OK, 2),
    ]


@every_backend
@pytest.mark.parametrize("buffer_size_max_bytes", [0, 1024])
def test_pipelined_calls_end_in_order(make, kind, buffer_size_max_bytes):
    queries = [["INCR", "n"]] * 300
    ends = make(kind).play(settings(buffer_size_max_bytes=buffer_size_max_bytes, flush_timeout_ms=3), queries)
    assert ends == [(OK, number) for number in range(1, 301)]


@every_backend
def test_large_values(make, kind):
    value = "x" * 300_000
    assert make(kind).play(settings(), [["SET", "k", value], ["GET", "k"]])[1] == (OK, value.encode())


@every_backend
def test_scripts(make, kind):
    script = "return {KEYS[1], redis.call('INCR', KEYS[1]), ARGV[1]}"
    sha = "7e5a0bb6b7a8c7a8b4a3e1f0d5c2b19876543210"
    rounds = [[["EVALSHA", sha, "1", "n", "a"]], [["EVAL", script, "1", "n", "a"]], [["SCRIPT", "LOAD", script]]]
    ends = make(kind).play(settings(), *rounds)
    assert ends[:2] == [(OK, "NOSCRIPT"), (OK, [b"n", 1, b"a"])]
    again = make(kind).play(settings(), rounds[2], [["EVALSHA", ends[2][1].decode(), "1", "m", "b"]])
    assert again[1] == (OK, [b"m", 1, b"b"])


@every_backend
def test_a_call_without_reply_fails_all_on_its_connection_and_the_next_connects_anew(make, kind):
    rounds = [["SET", "k", "v"], NEVER_ANSWERED, ["GET", "k"]], [["GET", "k"]]
    ends = make(kind).play(settings(SHORT_TIMEOUT_MS), *rounds)
    assert ends == [(OK, b"OK"), (NETWORK_ERROR, None), (NETWORK_ERROR, None), (OK, b"v")]


@with_sessions
def test_a_database_of_its_own(make, kind):
    backend = make(kind)
    assert backend.play(settings(database=3), [["SET", "k", "v"], ["GET", "k"]])[1] == (OK, b"v")
    assert backend.play(settings(), [["GET", "k"]]) == [(OK, None)]


@with_sessions
@pytest.mark.parametrize(
    ("fields", "reply"),
    [
        ({"password": PASSWORD}, b"v"),
        ({"username": "default", "password": PASSWORD, "database": 2}, b"v"),
        ({"password": "wrong"}, "NOAUTH"),
        ({"username": "nobody", "password": PASSWORD}, "NOAUTH"),
        ({}, "NOAUTH"),
    ],
)
def test_a_server_with_a_password(make, kind, fields, reply):
    ends = make(kind, PASSWORD).play(settings(**fields), [["SET", "k", "v"], ["GET", "k"]])
    assert ends[1] == (OK, reply)


@with_sessions
def test_a_password_that_the_server_does_not_ask_for(make, kind):
    """AUTH is refused, its reply is dropped, and the calls go on."""
    assert make(kind).play(settings(password="any"), [["SET", "k", "v"]]) == [(OK, b"OK")]
