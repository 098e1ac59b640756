"""One whole request and everything observable about it."""

from dataclasses import dataclass, field

from .headers import HeaderMap
from .local_reply import LocalReply
from .records import CallbackRecord, HostCallRecord, LogRecord
from .stream import HttpStream


@dataclass(frozen=True, slots=True)
class Exchange:
    """`status` is 0 when the client got no response: it went away, or the stream was reset (`reset_reason` says why).

    `upstream_*` is the request as the endpoint saw it; None and nothing when it never got there.
    """

    status: int
    headers: list[tuple[str, str]]
    chunks: list[bytes]
    trailers: list[tuple[str, str]]
    endpoint: str | None
    overridden: bool
    local_reply: LocalReply | None
    reset_reason: str
    route_cache_clears: int
    upstream_headers: list[tuple[str, str]] | None
    upstream_body: bytes
    upstream_trailers: list[tuple[str, str]]
    callbacks: list[CallbackRecord] = field(repr=False)
    host_calls: list[HostCallRecord] = field(repr=False)
    logs: list[LogRecord] = field(repr=False)

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def actions(self) -> list[tuple[str, int]]:
        """(callback, returned action) in order, for the callbacks that return one."""
        return [(record.name, record.result) for record in self.callbacks if record.result is not None]

    @property
    def instructions(self) -> dict[str, int]:
        """Spent per callback name over the whole request; empty when they are not counted."""
        spent: dict[str, int] = {}
        for record in self.callbacks:
            if record.instructions is not None:
                spent[record.name] = spent.get(record.name, 0) + record.instructions
        return spent

    def header(self, name: str) -> str | None:
        """The first value of a response header."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    def host_call_names(self) -> list[str]:
        return [record.function for record in self.host_calls]

    def __str__(self) -> str:
        lines = [f"{self.status or self.reset_reason} from {self.endpoint}"]
        lines += [f"  {record.name}{record.arguments} -> {record.result}" for record in self.callbacks]
        lines += [f"  {record}" for record in (*self.host_calls, *self.logs)]
        return "\n".join(lines)


def observe(stream: HttpStream) -> Exchange:
    """The exchange of a stream, as far as it has come."""
    down, up = stream.downstream, stream.upstream
    return Exchange(
        status=int((down.headers or HeaderMap()).get(b":status") or 0),
        headers=(down.headers or HeaderMap()).text_pairs(),
        chunks=list(down.chunks),
        trailers=(down.trailers or HeaderMap()).text_pairs(),
        endpoint=stream.endpoint.address if stream.endpoint is not None else None,
        overridden=stream.overridden,
        local_reply=stream.local_reply,
        reset_reason=stream.reset_reason,
        route_cache_clears=stream.route_cache_clears,
        upstream_headers=up.headers.text_pairs() if up.headers is not None else None,
        upstream_body=up.body,
        upstream_trailers=(up.trailers or HeaderMap()).text_pairs(),
        callbacks=list(stream.trace.callbacks),
        host_calls=list(stream.trace.host_calls),
        logs=list(stream.trace.logs),
    )
