"""A request that is decided with its body: held until the body is complete, but not for one that is too large or does
not come.

Gateways answer 413 when more is held back than they have room for, so a body that grows too large is let through: the
request is decided as if it had none that can be read.
"""

from typing import Protocol

from proxywasm import HttpContext, clock, continue_request
from proxywasm.enums import DataAction, HeaderAction

from ..telemetry import PROXY, Telemetry
from ..upstream import Upstream
from ..waiting import Waiting

MAX_BODY_WAIT_MS = 1_000  # for the first part of a body

_AWAIT_BODY = int(HeaderAction.STOP_ITERATION)
_AWAIT_MORE = int(DataAction.STOP_ITERATION_AND_BUFFER)
_HOLD = int(DataAction.STOP_ITERATION_AND_WATERMARK)  # what comes now stays at the client, not in the gateway
_HOLD_TRAILERS = 1


class BodyDriver(Protocol):
    @property
    def bodies(self) -> "BodyWait": ...
    @property
    def upstream(self) -> Upstream: ...
    @property
    def telemetry(self) -> Telemetry: ...


class BodyRequest(HttpContext):
    driver: BodyDriver
    _awaits_body = False
    _is_waiting = False  # for something else than its body

    def is_held_with(self, has_body: bool) -> bool:
        """Decides, with the complete body or without any; True if the request must be held on."""
        raise NotImplementedError

    def await_body(self) -> int:
        """What on_request_headers returns for a request that is to be decided with its body."""
        self._awaits_body = True
        self.driver.upstream.make_room_for_body()
        self.driver.bodies.begin(self)
        return _AWAIT_BODY

    def on_request_body(self, body_size: int, end_of_stream: bool) -> int | None:
        if not self._awaits_body:
            return _HOLD if self._is_waiting else None
        if not end_of_stream and body_size <= self.driver.upstream.max_body_bytes:
            self.driver.bodies.part_came(self)
            return _AWAIT_MORE
        self._end_wait()
        return _HOLD if self.is_held_with(has_body=end_of_stream) else None

    def on_request_trailers(self, num_trailers: int) -> int | None:
        if not self._awaits_body:
            return _HOLD_TRAILERS if self._is_waiting else None
        self._end_wait()
        return _HOLD_TRAILERS if self.is_held_with(has_body=True) else None

    def on_done(self) -> bool | None:
        if self._awaits_body:
            self._end_wait()
            self.driver.telemetry.decided(PROXY, "incomplete")
        return super().on_done()

    def on_body_overdue(self) -> None:
        """No part of the body came: the client is slow, or this gateway does not give bodies of held requests."""
        self._end_wait()
        is_held = False
        try:
            is_held = self.is_held_with(has_body=False)
        finally:
            if not is_held:
                continue_request()

    def _end_wait(self) -> None:
        self._awaits_body = False
        self.driver.bodies.end(self)


class BodyWait:
    """The requests of one driver that await their bodies."""

    def __init__(self) -> None:
        self._without_part: Waiting[BodyRequest] = Waiting(MAX_BODY_WAIT_MS)
        self._undecided = 0

    @property
    def is_idle(self) -> bool:
        return not self._undecided

    def begin(self, request: BodyRequest) -> None:
        self._undecided += 1
        self._without_part.add(request, clock.now_ns() // 1_000_000)

    def part_came(self, request: BodyRequest) -> None:
        self._without_part.discard(request)

    def end(self, request: BodyRequest) -> None:
        self._undecided -= 1
        self._without_part.discard(request)

    def on_tick(self) -> None:
        """Ends the wait of those that have got no part for MAX_BODY_WAIT_MS."""
        if self._without_part.is_empty:
            return
        for request in self._without_part.overdue(clock.now_ns() // 1_000_000):
            request.make_current()
            request.on_body_overdue()
