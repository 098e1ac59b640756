"""Upstreams as scripts in time: a script yields what the server does, one step after the other.

def slow_stream(request):
    yield AFTER_REQUEST
    yield 200.0                                     # ms until the first token
    yield ResponseHeaders([(b":status", b"200")])
    for token in (b"data: a", b"data: b"):
        yield token
        yield 30.0
"""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Final, Protocol, TypeAlias

from ..clock import Scheduler, Timer
from ..codec import Pair
from ..headers import HeaderMap, to_str
from ..upstream import ResponseHeaders, ResponseTrailers, UpstreamEvent


class UpstreamFault(Enum):
    """How a server ends without ending its response; the text is Envoy's reason of the reset."""

    CONNECT = "connection failure"
    RESET = "connection termination"


class _AfterRequest:
    def __repr__(self) -> str:
        return "AFTER_REQUEST"


AFTER_REQUEST: Final = _AfterRequest()  # a step: wait until the whole request has come

# A float is a delay in ms. After the last step the response ends.
Step: TypeAlias = float | _AfterRequest | UpstreamEvent | UpstreamFault
TimedUpstream: TypeAlias = "Callable[[TimedRequest], Iterable[Step]]"


class TimedRequest:
    """What a scripted upstream is asked, as far as it has come."""

    __slots__ = ("_body", "address", "headers")

    def __init__(self, address: str, headers: HeaderMap, body: Callable[[], bytes]) -> None:
        self.address = address
        self.headers = headers
        self._body = body

    @property
    def method(self) -> str:
        return to_str(self.headers.get(b":method") or b"")

    @property
    def path(self) -> str:
        return to_str(self.headers.get(b":path") or b"")

    @property
    def body(self) -> bytes:
        """Whole after AFTER_REQUEST."""
        return self._body()


def name_itself(request: TimedRequest) -> Iterable[Step]:
    """200, and the address of the endpoint as the body."""
    return answer(200, request.address.encode())


def answer(status: int = 200, *chunks: bytes, first_ms: float = 0.0, between_ms: float = 0.0) -> list[Step]:
    """The steps of a plain answer: the headers `first_ms` after the whole request, then the chunks."""
    steps: list[Step] = [AFTER_REQUEST, first_ms, ResponseHeaders([(b":status", b"%d" % status)], not chunks)]
    for number, chunk in enumerate(chunks):
        steps += [between_ms, chunk] if number else [chunk]
    return steps


class ResponseSink(Protocol):
    """Who gets the response."""

    def is_open(self) -> bool:
        """False once nobody wants the rest."""

    def response_headers(self, pairs: list[Pair], end_of_stream: bool) -> None: ...
    def response_body(self, data: bytes, end_of_stream: bool) -> None: ...
    def response_trailers(self, pairs: list[Pair]) -> None: ...
    def response_failed(self, fault: UpstreamFault) -> None: ...


class Playback:
    """One request at a scripted upstream. The first step runs as an event of its own, never within `start`."""

    def __init__(self, scheduler: Scheduler, steps: Iterable[Step], sink: ResponseSink, request_ended: bool) -> None:
        self._scheduler = scheduler
        self._steps: Iterator[Step] = iter(steps)
        self._sink = sink
        self._request_ended = request_ended
        self._awaits_request = False
        self._timer: Timer | None = scheduler.call_later(0, self._go_on)

    def request_ended(self) -> None:
        self._request_ended = True
        if self._awaits_request:
            self._awaits_request = False
            self._timer = self._scheduler.call_later(0, self._go_on)

    def cancel(self) -> None:
        """The request is gone: nothing more is played."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go_on(self) -> None:
        self._timer = None
        sink = self._sink
        for step in self._steps:
            if type(step) is float:
                self._timer = self._scheduler.call_later(step, self._go_on)
                return
            if isinstance(step, _AfterRequest):
                if not self._request_ended:
                    self._awaits_request = True
                    return
            elif self._play(step) or not sink.is_open():
                return
        sink.response_body(b"", True)

    def _play(self, step: Step) -> bool:
        """True when it was the end of the response."""
        sink = self._sink
        if isinstance(step, bytes):
            sink.response_body(step, False)
            return False
        if isinstance(step, ResponseHeaders):
            sink.response_headers(step.pairs, step.end_of_stream)
            return step.end_of_stream
        if isinstance(step, ResponseTrailers):
            sink.response_trailers(step.pairs)
            return True
        if isinstance(step, UpstreamFault):
            sink.response_failed(step)
            return True
        raise TypeError(f"{step!r} is no step of an upstream; a delay is a float")
