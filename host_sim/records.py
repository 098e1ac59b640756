"""What is observed: log lines, host calls, callbacks."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from proxywasm.enums import LogLevel

LOGS_MAX = 10_000  # per gateway and per stream; the oldest go first
TRACE_MAX = 2_000  # host calls, and callbacks, kept per stream and per VM; the oldest go first


@dataclass(frozen=True, slots=True)
class LogRecord:
    level: LogLevel
    message: str
    context_id: int

    def __str__(self) -> str:
        return f"[{self.level.name}] {self.message}"


@dataclass(frozen=True, slots=True)
class HostCallRecord:
    """`result` is what the guest got, or the HostCallError that it was refused with."""

    function: str
    arguments: tuple[Any, ...]
    result: Any

    def __str__(self) -> str:
        return f"{self.function}{self.arguments!r} -> {self.result!r}"


@dataclass(frozen=True, slots=True)
class CallbackRecord:
    """`result` is what the guest returned (None: nothing); `instructions` is None when they are not counted."""

    name: str
    arguments: tuple[int, ...]
    result: int | None
    instructions: int | None


@dataclass(slots=True)
class Trace:
    """What a context saw, oldest first."""

    callbacks: deque[CallbackRecord] = field(default_factory=lambda: deque(maxlen=TRACE_MAX))
    host_calls: deque[HostCallRecord] = field(default_factory=lambda: deque(maxlen=TRACE_MAX))
    logs: deque[LogRecord] = field(default_factory=lambda: deque(maxlen=LOGS_MAX))
