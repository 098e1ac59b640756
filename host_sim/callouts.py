"""HTTP callouts of a plugin: the call, and who makes it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from .codec import Pair


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """`headers` hold `:status`."""

    headers: list[Pair]
    body: bytes = b""
    trailers: list[Pair] = field(default_factory=list)


def error_response(status: int, text: str) -> HttpResponse:
    """What Envoy's client makes where none came: the plugin cannot tell it from an upstream's."""
    body = text.encode()
    headers = [(b":status", b"%d" % status), (b"content-length", b"%d" % len(body)), (b"content-type", b"text/plain")]
    return HttpResponse(headers, body)


@dataclass(frozen=True, slots=True)
class HttpCall:
    """`done` is called once with the response, or with None when one broke off; later calls of it are ignored."""

    call_id: int
    root_id: int
    cluster: str
    headers: list[Pair]
    body: bytes
    trailers: list[Pair]
    timeout_ms: int  # 0: none
    done: Callable[[HttpResponse | None], None] = field(repr=False)


class HttpCallouts(Protocol):
    def start(self, call: HttpCall) -> None:
        """Begin the call; HostCallError(INTERNAL_FAILURE) if it cannot even be begun."""


class SteppedCallouts:
    """For step-by-step driving: the calls wait in `pending` until somebody calls their `done`."""

    def __init__(self) -> None:
        self.pending: list[HttpCall] = []

    def start(self, call: HttpCall) -> None:
        self.pending.append(call)
