"""The Redis in this process beside a real one: every command on both, the replies compared."""

import random
from typing import Any

import pytest

from host_sim.codec import RespError, RespValue, decode_reply, encode_command
from host_sim.embedded_redis import EmbeddedRedis
from host_sim.memory_redis import MemoryRedis
from host_sim.memory_redis.sorted_set import SortedSet

KINDS = [b"SET string 10", b"HSET hash a 1 b 2", b"ZADD sorted 1 a 2 b 2 aa 3 c"]

COMMANDS = """
PING|PING hello|GET string|GET none|GET hash|MGET string none hash|SET string x NX|SET none x XX|SET string x PX 0
SET string x FOO|SET new 1 PX 1000 NX|INCR string|DECR none|INCRBY string 5|INCRBY string x|INCR hash|SET s abc|INCR s
SET big 9223372036854775807|INCR big|DEL string none hash|EXISTS string string none|HGET hash a|HGET none a
HGET string a|HMGET hash a z b|HGETALL hash|HLEN hash|HLEN none|HSET hash a 5 c 6|HSET hash a|HSET hash a 1 b
HSETNX hash a 9|HSETNX hash z 9|HDEL hash a z|HDEL hash a b|EXISTS hash|HINCRBY hash a 5|HINCRBY hash a -9
HINCRBY none f 1|HINCRBY hash a x|HSET hash t text|HINCRBY hash t 1|ZADD sorted 5 d|ZADD sorted 5 a
ZADD sorted XX CH 9 a 9 zz|ZADD sorted NX 7 a 7 n|ZADD sorted XX NX 1 a|ZADD sorted x a|ZADD sorted 1
ZADD sorted nan a|ZREM sorted a zz|ZCARD sorted|ZSCORE sorted b|ZSCORE sorted zz|ZSCORE string a|ZADD sorted 1.5 f
ZSCORE sorted f|ZADD sorted inf i|ZSCORE sorted i|ZADD sorted 1795347101968 t|ZSCORE sorted t|ZRANGE sorted 0 -1
ZRANGE sorted 1 2 WITHSCORES|ZRANGE sorted -2 -1|ZRANGE sorted 5 2|ZRANGE sorted 0 -9|ZRANGE sorted 0 1 FOO
ZRANGEBYSCORE sorted -inf +inf|ZRANGEBYSCORE sorted 2 2|ZRANGEBYSCORE sorted (1 3|ZRANGEBYSCORE sorted (2 (3
ZRANGEBYSCORE sorted 1 3 LIMIT 1 2|ZRANGEBYSCORE sorted 3 1|ZRANGEBYSCORE sorted 1 3 WITHSCORES LIMIT 0 -1
ZRANGEBYSCORE sorted x 3|ZRANGEBYSCORE sorted 1 3 LIMIT 1|ZRANGEBYSCORE none -inf inf|PEXPIRE none 5
PEXPIRE string 100000|PEXPIRE string x|PTTL none|PTTL string|KEYS s*|KEYS *|GET|HSET hash|SELECT 99|SELECT x|FLUSHALL
SCRIPT EXISTS 0|EVALSHA 0 0|EVAL|EVAL x 5 a|EVAL x x|EXPIRE string 100|DEL sorted|PEXPIRE string -1
ZADD sorted 2 a 3 a|HINCRBY hash a 9223372036854775807|HMGET string a|HDEL string a|ZREM hash a
""".replace("\n", "|").strip("|")

SCRIPTS = [
    "return {KEYS[1], ARGV[1], ARGV[2]}",
    "return {1, 2.9, -2.9, 'x', true, false, nil, 4}",
    "return {}",
    "return nil",
    "return {1, {2, {'three'}}}",
    "return {ok = 'FINE'}",
    "return {err = 'MY error'}",
    "return redis.error_reply('MY error')",
    "return redis.status_reply('FINE')",
    "return redis.call('GET', 'none') == false and 'false' or 'other'",
    "return redis.call('GET', 'string') + 1",
    "return redis.call('SET', 'k', 3)",
    "redis.call('SET', 'k', 3.5) return redis.call('GET', 'k')",
    "redis.call('SET', 'k', 2^53) return redis.call('GET', 'k')",
    "return redis.call('HMGET', KEYS[1], 'a', 'z')",
    "local reply = redis.pcall('HGET', 'string', 'a') return type(reply.err)",
    "local ok = pcall(redis.call, 'HGET', 'string', 'a') return tostring(ok)",
    "return redis.call('ZRANGEBYSCORE', 'sorted', '-inf', 2, 'LIMIT', 0, 2)",
    "return redis.call('PING').ok",
    "return redis.call('SET', 'k', 'v').ok",
    "return #redis.call('TIME')",
    "return string.match('12 a b', '^(%d+) (.*)$')",
    "return tostring(math.huge)",
    "return select('#', unpack(ARGV))",
]

FAILING_SCRIPTS = [
    "return redis.call('HGET', 'string', 'a')",
    "return redis.call('NOPE')",
    "return redis.call('HGET', 'hash')",
    "return redis.call()",
    "return redis.call('GET', {})",
    "error('boom')",
    "return nil + 1",
    "return a_global",
    "a_global = 1",
    "this is no Lua",
    "return io.open('x')",
]


def words(command: str) -> list[bytes]:
    return command.encode().split()


@pytest.fixture(scope="module")
def real():
    """Executes commands on a real server."""
    with EmbeddedRedis() as server, server.client() as client:
        if server.kind == "fakeredis":
            pytest.skip("no Redis server, and fakeredis is not what to compare with")
        connection = client.connection_pool.get_connection()

        def execute(command: list[bytes]) -> RespValue:
            connection.send_packed_command([encode_command(command)])
            received = b""
            while not received.endswith(b"\r\n") or _incomplete(received):
                received += connection._sock.recv(65536)
            return decode_reply(received)

        yield execute
        client.connection_pool.release(connection)


def _incomplete(received: bytes) -> bool:
    try:
        decode_reply(received)
    except ValueError:
        return True
    return False


def both(real, *commands: list[bytes]) -> tuple[Any, Any]:
    """The replies of both to the last of the commands, after the same beginning."""
    memory = MemoryRedis().session()
    replies: list[RespValue] = [None, None]
    for command in ([b"FLUSHALL"], [b"SCRIPT", b"FLUSH"], *map(words, map(bytes.decode, KINDS)), *commands):
        replies = [real(command), memory.execute(command)]
    return plain(replies[0]), plain(replies[1])


def plain(reply: RespValue) -> Any:
    """Statuses as bytes; errors by their code."""
    if isinstance(reply, str):
        return reply.encode()
    if isinstance(reply, RespError):
        return f"error {str(reply).partition(' ')[0]}"
    if isinstance(reply, list):
        return [plain(item) for item in reply]
    return reply


@pytest.mark.parametrize("command", COMMANDS.split("|"))
def test_a_command_replies_as_on_a_real_server(real, command):
    expected, found = both(real, words(command))
    if command.startswith("KEYS"):
        assert sorted(map(str, found)) == sorted(map(str, expected))
    else:
        assert found == expected


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_replies_as_on_a_real_server(real, script):
    expected, found = both(real, [b"EVAL", script.encode(), b"1", b"hash", b"one", b"two"])
    assert found == expected


@pytest.mark.parametrize("script", FAILING_SCRIPTS)
def test_a_script_that_fails(real, script):
    """Versions of Redis differ in the texts around what went wrong, so only that both fail is compared."""
    expected, found = both(real, [b"EVAL", script.encode(), b"0"])
    assert str(expected).startswith("error")
    assert str(found).startswith("error")


def test_scripts_are_called_by_sha(real):
    source = b"return 7"
    load, sha = [b"SCRIPT", b"LOAD", source], b"3286be97ee3a88b87b68b6c49cecd5a28b1c69ff"
    expected, found = both(real, load)
    assert found == expected
    assert isinstance(found, bytes)
    sha = found
    for commands in (
        [[b"EVALSHA", sha, b"0"]],
        [load, [b"EVALSHA", sha.upper(), b"0"]],
        [load, [b"SCRIPT", b"EXISTS", sha]],
    ):
        expected, found = both(real, *commands)
        assert found == expected


@pytest.mark.parametrize("seed", range(3))
def test_random_histories(real, seed):
    """Few keys, many commands, all replies. Which of two errors is told may differ."""
    chance = random.Random(seed)
    print(f"seed {seed}")
    memory = MemoryRedis().session()
    real([b"FLUSHALL"])
    # In real time a key may expire on one of the two between a command and its twin.
    left_out = ("KEYS", "FLUSHALL", "PTTL", "PEXPIRE none 5", "SET new 1 PX 1000")
    pool = [command for command in COMMANDS.split("|") if not command.startswith(left_out)]
    pool += ["PEXPIRE hash 100000", "PEXPIRE none 500000", "SET new 1 PX 100000 NX", "SET hash 1", "SET sorted 2"] + [
        command.decode() for command in KINDS
    ]
    for step in range(600):
        command = chance.choice(pool)
        expected, found = plain(real(words(command))), plain(memory.execute(words(command)))
        if str(expected).startswith("error"):
            assert str(found).startswith("error"), (step, command)
        else:
            assert found == expected, (step, command)


def test_time_and_expiry_follow_the_given_clock():
    now_ns = 1_700_000_000_123_456_789
    redis = MemoryRedis(lambda: now_ns)
    session = redis.session()
    assert session.execute([b"TIME"]) == [b"1700000000", b"123456"]
    session.execute(words("SET k v PX 100"))
    now_ns += 99_000_000
    assert session.execute(words("GET k")) == b"v"
    assert session.execute(words("PTTL k")) == 1
    now_ns += 1_000_000
    assert session.execute(words("DEL k")) == 0
    assert session.execute(words("GET k")) is None
    assert session.execute(words("KEYS *")) == []


def test_connections_have_a_database_and_log_in():
    redis = MemoryRedis(password="secret")
    first, second = redis.session(), redis.session()
    assert str(first.execute([b"PING"])).startswith("NOAUTH")
    assert str(first.execute(words("AUTH wrong"))).startswith("WRONGPASS")
    assert str(first.execute(words("AUTH nobody secret"))).startswith("WRONGPASS")
    assert first.execute(words("AUTH secret")) == "OK"
    assert second.execute(words("AUTH default secret")) == "OK"
    assert first.execute(words("SELECT 3")) == "OK"
    first.execute(words("SET k v"))
    assert (first.execute(words("GET k")), second.execute(words("GET k"))) == (b"v", None)
    assert first.execute([b"EVAL", b"return redis.call('GET', 'k')", b"0"]) == b"v"
    second.execute([b"FLUSHALL"])
    assert first.execute(words("GET k")) is None
    assert str(MemoryRedis().session().execute(words("AUTH x"))).startswith("ERR AUTH")


@pytest.mark.parametrize("seed", range(3))
def test_a_sorted_set_equals_a_sorted_list(seed):
    chance = random.Random(seed)
    print(f"seed {seed}")
    found, model = SortedSet(), dict[bytes, float]()
    for _ in range(300):
        member, score = b"%d" % chance.randrange(30), float(chance.randrange(10))
        if chance.random() < 0.7:
            assert found.add(member, score) == (member not in model)
            model[member] = score
        else:
            assert found.remove(member) == (model.pop(member, None) is not None)
        ordered = sorted((score, member) for member, score in model.items())
        low, high = sorted((chance.randrange(10), chance.randrange(10)))
        assert found.between(low, high, False, False) == [entry for entry in ordered if low <= entry[0] <= high]
        assert found.between(low, high, True, True) == [entry for entry in ordered if low < entry[0] < high]
        assert len(found) == len(model)
