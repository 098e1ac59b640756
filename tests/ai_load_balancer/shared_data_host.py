"""The host's shared data for pure unit tests: the simulator's own, with the SDK above it, and rivals on demand."""

import pytest
from proxywasm import shared_data
from proxywasm.enums import Status
from proxywasm.errors import host_error

from host_sim.errors import HostCallError
from host_sim.shared import SharedData

VM_ID = b"vm"


class SharedDataHost:
    """`refusals` is how many of the next writes are answered with `status`, as if another worker had been faster."""

    def __init__(self) -> None:
        self.data = SharedData()
        self.refusals = 0
        self.status = Status.CAS_MISMATCH
        self.reads = 0
        self.writes = 0

    def get_shared_data(self, key: bytes) -> tuple[bytes, int] | None:
        self.reads += 1
        try:
            return self.data.get(VM_ID, key)
        except HostCallError:
            return None

    def set_shared_data(self, key: bytes, value: bytes, cas: int) -> None:
        if self.refusals:
            self.refusals -= 1
            raise host_error("proxy_set_shared_data", self.status)
        self.writes += 1
        try:
            self.data.set(VM_ID, key, value, cas)
        except HostCallError as error:
            raise host_error("proxy_set_shared_data", error.status) from error

    def items(self) -> dict[bytes, bytes]:
        return self.data.items(VM_ID)


def shared_data_host(monkeypatch: pytest.MonkeyPatch) -> SharedDataHost:
    """The SDK's functions go to a new host."""
    host = SharedDataHost()
    monkeypatch.setattr(shared_data, "host", host)
    monkeypatch.setattr(shared_data, "get", host.get_shared_data)
    return host
