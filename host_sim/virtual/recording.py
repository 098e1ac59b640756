"""A running hash of everything that crosses a guest's boundary, with the time at which it does.

It stands between the guest and its host, outside of both: two runs are the same if their digests are.
"""

import hashlib
from typing import Any

from ..abi import Target
from ..errors import HostCallError
from ..guest import Environment, Guest, GuestFactory, HostCalls


class Recording:
    """A guest factory around another one; `digest` covers all guests that it made."""

    def __init__(self, factory: GuestFactory) -> None:
        self._factory = factory
        self._hash = hashlib.blake2b(digest_size=16)
        self.crossings = 0

    def __call__(self, target: Target, host: HostCalls, environment: Environment) -> "Guest":
        return _RecordedGuest(self, self._factory(target, _RecordedHost(self, host, environment), environment))

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def note(self, *what: object) -> None:
        """`what` must have a repr that says the same in every process."""
        self.crossings += 1
        self._hash.update(repr(what).encode())


class _RecordedHost:
    """guest.HostCalls"""

    def __init__(self, recording: Recording, host: HostCalls, environment: Environment) -> None:
        self._note = recording.note
        self._host = host
        self._now_ns = environment.scheduler.monotonic_ns

    def host_call(self, name: str, *arguments: Any) -> Any:
        try:
            result = self._host.host_call(name, *arguments)
        except HostCallError as error:
            self._note(self._now_ns(), name, arguments, str(error))
            raise
        self._note(self._now_ns(), name, arguments, result)
        return result

    def write_output(self, descriptor: int, text: bytes) -> None:
        self._note(descriptor, text)
        self._host.write_output(descriptor, text)


class _RecordedGuest:
    """guest.Guest"""

    def __init__(self, recording: Recording, guest: Guest) -> None:
        self._note = recording.note
        self._guest = guest
        self.exports = guest.exports
        self.close = guest.close

    @property
    def abi_marker(self) -> str:
        return self._guest.abi_marker

    @property
    def instructions(self) -> int | None:
        return self._guest.instructions

    @property
    def memory_size(self) -> int | None:
        return self._guest.memory_size

    def call(self, name: str, *arguments: int) -> int | None:
        self._note(name, arguments)
        result = self._guest.call(name, *arguments)
        self._note(result)
        return result
