"""The 18 functions of WASI, with Envoy's answers."""

import pytest

from host_sim.clock import MANUAL_EPOCH_NS
from host_sim.gateway import Gateway
from host_sim.wasi import BADF, FAULT, INVAL, NOENT, NOTSUP, RANDOM_SIZE_MAX, SUCCESS, WASI_FUNCTIONS, MemoryFault, Wasi


class FlatMemory:
    def __init__(self):
        self.data = bytearray(200_000)

    def read(self, address, size):
        if address + size > len(self.data):
            raise MemoryFault
        return bytes(self.data[address : address + size])

    def write(self, address, data):
        if address + len(data) > len(self.data):
            raise MemoryFault
        self.data[address : address + len(data)] = data

    def u32(self, address):
        return int.from_bytes(self.read(address, 4), "little")

    def u64(self, address):
        return int.from_bytes(self.read(address, 8), "little")


class Host:
    def __init__(self):
        self.written = []

    def host_call(self, name, *arguments):
        raise AssertionError(name)

    def write_output(self, descriptor, text):
        self.written.append((descriptor, text))


@pytest.fixture
def memory():
    return FlatMemory()


@pytest.fixture
def host():
    return Host()


@pytest.fixture
def wasi(memory, host):
    made = Wasi(memory, host, Gateway(variables={"A": "1", "BC": "23"}))
    return lambda name, *arguments: made.function(name)(*arguments)


def test_fd_write_is_one_record_per_call(wasi, memory, host):
    """fd 1 -> info, 2 -> error; one log record per call."""
    memory.write(0, b"hello world\n")
    memory.write(100, bytes([0, 0, 0, 0, 5, 0, 0, 0, 5, 0, 0, 0, 7, 0, 0, 0]))
    assert wasi("fd_write", 1, 100, 2, 200) == SUCCESS
    assert memory.u32(200) == 12
    assert wasi("fd_write", 2, 100, 1, 200) == SUCCESS
    assert host.written == [(1, b"hello world"), (2, b"hello")]
    assert wasi("fd_write", 3, 100, 1, 200) == BADF


def test_addresses_outside_are_a_fault(wasi):
    assert wasi("fd_write", 1, -16, 1, 0) == FAULT
    assert wasi("random_get", 199_999, 2) == FAULT


def test_environment_and_arguments(wasi, memory):
    """environ from vm_config. args empty."""
    assert wasi("environ_sizes_get", 0, 4) == SUCCESS
    assert (memory.u32(0), memory.u32(4)) == (2, 10)
    assert wasi("environ_get", 100, 200) == SUCCESS
    assert memory.read(200, 10) == b"A=1\0BC=23\0"
    assert (memory.u32(100), memory.u32(104)) == (200, 204)
    assert wasi("args_sizes_get", 0, 4) == wasi("args_get", 8, 12) == SUCCESS
    assert (memory.u32(0), memory.u32(4)) == (0, 0)


def test_clocks_are_injected(wasi, memory):
    """clock ids 0 and 1 only."""
    assert wasi("clock_time_get", 0, 1, 0) == SUCCESS
    assert memory.u64(0) == MANUAL_EPOCH_NS
    memory.write(0, b"\xff" * 8)
    assert wasi("clock_time_get", 1, 1, 0) == SUCCESS
    assert memory.u64(0) == 0
    assert wasi("clock_time_get", 2, 1, 0) == NOTSUP


def test_random_is_injected_and_bounded(memory, host):
    """random_get at most 65,536 bytes."""
    wasi = Wasi(memory, host, Gateway(random_bytes=lambda size: b"r" * size))
    assert wasi.function("random_get")(0, RANDOM_SIZE_MAX) == SUCCESS
    assert memory.read(0, RANDOM_SIZE_MAX + 1) == b"r" * RANDOM_SIZE_MAX + b"\0"
    assert wasi.function("random_get")(0, RANDOM_SIZE_MAX + 1) == INVAL


def test_poll_oneoff_does_not_sleep(wasi, memory):
    memory.write(0, b"userdata" + bytes(40) + b"USERDATA" + b"\1" + bytes(39))
    assert wasi("poll_oneoff", 0, 200, 2, 300) == SUCCESS
    assert memory.u32(300) == 2
    assert memory.read(200, 11) == b"userdata\0\0\0"
    assert memory.read(232, 11) == b"USERDATA" + bytes([NOTSUP, 0, 1])
    assert wasi("poll_oneoff", 0, 200, 0, 300) == INVAL


def test_files_are_not_there(wasi):
    assert wasi("proc_exit", 1) is None  # returns to the guest
    assert wasi("fd_read", 0, 0, 0, 0) == wasi("fd_prestat_get", 3, 0) == wasi("fd_prestat_dir_name", 3, 0, 0) == BADF
    assert wasi("fd_seek", 1, 0, 0, 0) == wasi("fd_close", 1) == wasi("fd_fdstat_set_flags", 1, 0) == NOTSUP
    assert wasi("path_open", *[0] * 9) == NOENT
    assert wasi("fd_fdstat_get", 1, 0) == wasi("sched_yield") == SUCCESS
    assert wasi("fd_fdstat_get", 5, 0) == BADF


def test_all_are_there(wasi):
    for name in WASI_FUNCTIONS:
        assert callable(wasi.__closure__[0].cell_contents.function(name))
