"""Redis at the end of a network: latency, order, and every fault, as the host's client of a plugin sees them."""

import random

import pytest

from host_sim.clock import ManualScheduler
from host_sim.codec import decode_reply, encode_command
from host_sim.memory_redis import MemoryRedis
from host_sim.redis_client import RedisClient, RedisSettings
from host_sim.virtual import CommandFault, TimedRedis

TIMEOUT_MS = 100
OK, NETWORK_ERROR = 0, 1


class Bench:
    """A client of a server 2 x 5 ms away; `ends` are (ms, call, status, reply)."""

    def __init__(self, password="", server_password="", database=0, **options):
        self.scheduler = ManualScheduler()
        self.memory = MemoryRedis(self.scheduler.realtime_ns, server_password)
        self.faults = {}  # by the first argument of the command; each hits once
        options.setdefault("latency_ms", lambda: 5.0)
        self.redis = TimedRedis(self.memory, self.scheduler, fault=self.fault_of, **options)
        settings = RedisSettings(
            password=password, database=database, timeout_ms=TIMEOUT_MS, flush_timeout_ms=0, buffer_size_max_bytes=0
        )
        self.client = RedisClient(self.redis, settings, self.scheduler)
        self.ends = []

    def fault_of(self, command):
        return self.faults.pop(command[1], None) if len(command) > 1 else None

    def call(self, text):
        def done(status, reply):
            self.ends.append((self.scheduler.monotonic_ns() / 1e6, text, int(status), reply))

        self.client.call(encode_command(text.split()), done)

    def values(self):
        store = self.memory.databases[0]
        return {key: store.string(key) for key in store.live_keys()}


def test_a_call_takes_two_ways():
    bench = Bench()
    bench.call("SET k v")
    bench.scheduler.advance(4.9)
    assert bench.values() == {}
    bench.scheduler.advance(0.1)
    assert bench.values() == {b"k": b"v"}
    assert bench.ends == []
    bench.scheduler.advance(5)
    assert bench.ends == [(10.0, "SET k v", OK, b"+OK\r\n")]


def test_nothing_overtakes_on_one_connection():
    ways = iter([9.0, 1.0, 1.0, 1.0])
    bench = Bench(latency_ms=lambda: next(ways))
    bench.call("INCR n")
    bench.call("INCR n")
    bench.scheduler.advance(50)
    assert [(at_ms, decode_reply(reply)) for at_ms, _, _, reply in bench.ends] == [(10.0, 1), (10.0, 2)]


@pytest.mark.parametrize(
    ("fault", "ends", "is_done"),
    [
        (CommandFault.NEVER, [(100.0, NETWORK_ERROR), (100.0, NETWORK_ERROR)], {}),
        (CommandFault.LOST, [(100.0, NETWORK_ERROR), (100.0, NETWORK_ERROR)], {b"a": b"1"}),
        (CommandFault.DISCONNECT_BEFORE, [(10.0, NETWORK_ERROR), (10.0, NETWORK_ERROR)], {}),
        (CommandFault.DISCONNECT_AFTER, [(10.0, NETWORK_ERROR), (10.0, NETWORK_ERROR)], {b"a": b"1"}),
        (CommandFault.MID_REPLY, [(10.0, NETWORK_ERROR), (10.0, NETWORK_ERROR)], {b"a": b"1"}),
        (CommandFault.GARBAGE, [(10.0, NETWORK_ERROR), (10.0, NETWORK_ERROR)], {b"a": b"1", b"b": b"2"}),
        (CommandFault.WRONG_REPLY, [(10.0, OK), (10.0, OK)], {b"a": b"1", b"b": b"2"}),
        (CommandFault.ERROR, [(10.0, OK), (10.0, OK)], {b"b": b"2"}),
        (CommandFault.LATE, [(60.0, OK), (60.0, OK)], {b"a": b"1", b"b": b"2"}),
    ],
    ids=lambda value: value.name if isinstance(value, CommandFault) else "",
)
def test_a_fault_and_the_command_behind_it_on_the_same_connection(fault, ends, is_done):
    bench = Bench(late_ms=50.0)
    bench.faults[b"a"] = fault
    bench.call("SET a 1")
    bench.call("SET b 2")
    bench.scheduler.advance(1000)
    assert [(at_ms, status) for at_ms, _, status, _ in bench.ends] == ends
    assert bench.values() == is_done
    bench.ends.clear()
    bench.call("GET b")  # the next call connects anew
    bench.scheduler.advance(20)
    assert [status for _, _, status, _ in bench.ends] == [OK]
    assert bench.redis.connections == (2 if ends[0][1] == NETWORK_ERROR else 1)


@pytest.mark.parametrize("fault", [CommandFault.GARBAGE, CommandFault.WRONG_REPLY, CommandFault.ERROR])
def test_every_face_of_a_fault(fault):
    faces = set()
    for number in range(10):
        bench = Bench(choose=lambda count, number=number: number % count)
        bench.faults[b"k"] = fault
        bench.call("SET k v")
        bench.scheduler.advance(1000)
        faces.add(bench.ends[0][2:])
        assert bench.ends[0][2] == (NETWORK_ERROR if fault is CommandFault.GARBAGE else OK)
    assert len(faces) == (1 if fault is CommandFault.GARBAGE else 6)


def test_what_was_sent_arrives_even_if_the_sender_gave_up():
    """The reason why a lease must be given back although its reply never came."""
    bench = Bench(latency_ms=lambda: 150.0)
    bench.call("SET k v")
    bench.scheduler.advance(TIMEOUT_MS)
    assert [status for _, _, status, _ in bench.ends] == [NETWORK_ERROR]
    assert bench.values() == {}
    bench.scheduler.advance(50)
    assert bench.values() == {b"k": b"v"}


def test_nobody_listens_for_a_while():
    listening = iter([True, False])
    bench = Bench(refuse=lambda: next(listening))
    bench.call("SET k v")
    bench.scheduler.advance(5)
    assert [end[:3] for end in bench.ends] == [(5.0, "SET k v", NETWORK_ERROR)]
    bench.call("SET k v")
    bench.scheduler.advance(10)
    assert bench.ends[-1][2] == OK


def test_login_and_database():
    bench = Bench(password="secret", server_password="secret", database=3)
    bench.call("SET k v")
    bench.scheduler.advance(10)
    assert bench.ends[0][2:] == (OK, b"+OK\r\n")
    assert bench.memory.databases[3].string(b"k") == b"v"
    assert bench.memory.databases[0].string(b"k") is None


@pytest.mark.parametrize("password", ["", "wrong"])
def test_without_the_password_every_command_is_refused(password):
    """AUTH's own error reply is dropped by the host; what the plugin sees is NOAUTH."""
    bench = Bench(password=password, server_password="secret")
    bench.call("SET k v")
    bench.scheduler.advance(10)
    assert bench.ends[0][2:] == (OK, b"-NOAUTH Authentication required.\r\n")


def test_nothing_overtakes_whatever_the_latencies_are():
    """A reply that had to wait for the one before it falls due at the same moment, give or take a rounding error."""
    print("seed 1")
    chance = random.Random(1)
    bench = Bench(latency_ms=lambda: chance.expovariate(2))
    for _ in range(2000):
        bench.call("INCR n")
        bench.scheduler.advance(chance.expovariate(3))
    bench.scheduler.advance(100)
    assert [decode_reply(reply) for _, _, _, reply in bench.ends] == list(range(1, 2001))
