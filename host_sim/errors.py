"""What can go wrong in the simulator.

`HostCallError` is an answer to the guest and no failure of the simulator; all others are for whoever drives it.
"""

from proxywasm.enums import Status


class SimulatorError(Exception):
    """The base of all errors of this package."""


class HostCallError(SimulatorError):
    """A host call is refused: the guest gets `status`."""

    def __init__(self, status: Status, reason: str = "") -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.status.name}: {self.reason}" if self.reason else self.status.name


class LoadError(SimulatorError):
    """The plugin cannot be loaded or refused to start."""


class GuestTrap(SimulatorError):
    """The guest trapped: its VM is dead."""


class UsageError(SimulatorError):
    """The simulator is driven in an order that no HTTP stream can take."""


class LeftoverError(SimulatorError):
    """At the end something is paused, pending or not deleted."""


class ServerError(SimulatorError):
    """A server of the test bench did not start or did not answer."""
