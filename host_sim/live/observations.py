"""What the page shows: counters per endpoint, the newest requests with their decisions, logs, reloads.

Everything is bounded; a request's details are turned into texts when it ends, so nothing holds on to its stream.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from ..cluster import Cluster
from ..headers import HeaderMap
from ..records import LogRecord
from ..stream import HttpStream
from .render import callback_text, cut, host_call_text

REQUESTS_MAX = 200  # the newest are kept
LOGS_MAX = 500
NOTES_MAX = 50
DETAILS_MAX = 100  # host calls, callbacks and log lines of one request; the first are kept
PAGE_ROWS_MAX = 100  # requests and log lines in one snapshot


@dataclass(slots=True)
class EndpointCounters:
    """`errors`: responses of 500 and above, failed connections and responses that broke off."""

    requests: int = 0
    in_flight: int = 0
    in_flight_max: int = 0
    errors: int = 0
    check: str = ""  # what was wrong at the last health check; "" when nothing was, or none was made


@dataclass(slots=True)
class RequestRecord:
    """Of one request, in flight or done; times are seconds since the epoch, durations milliseconds."""

    number: int
    started_s: float
    method: str
    path: str  # without its query
    generation: int
    request_id: str = ""
    route: str = ""
    cluster: str = ""
    endpoint: str = ""
    overridden: bool = False
    status: int = 0
    reason: str = ""
    done: bool = False
    first_byte_ms: float | None = None
    duration_ms: float | None = None
    response_size: int = 0
    details: dict[str, list[str]] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        shown = asdict(self)
        del shown["details"]
        return shown


class Observations:
    """`say` is told every log line and note as it comes."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.endpoints: dict[tuple[str, str], EndpointCounters] = {}
        self.requests: deque[RequestRecord] = deque(maxlen=REQUESTS_MAX)
        self.logs: deque[dict[str, Any]] = deque(maxlen=LOGS_MAX)
        self.notes: deque[dict[str, Any]] = deque(maxlen=NOTES_MAX)
        self.host_calls: Counter[str] = Counter()  # of finished requests, by function: as many keys as the ABI has
        self.statuses: Counter[str] = Counter()
        self._started = 0
        self._version = 0
        self._changed = asyncio.Event()

    def changed(self) -> None:
        self._version += 1
        self._changed.set()

    async def wait_for_change(self, seen_version: int) -> int:
        """The version, once it is not `seen_version`."""
        while self._version == seen_version:
            self._changed.clear()
            await self._changed.wait()
        return self._version

    @property
    def version(self) -> int:
        return self._version

    def counters(self, cluster: str, address: str) -> EndpointCounters:
        return self.endpoints.setdefault((cluster, address), EndpointCounters())

    def note(self, text: str, ok: bool) -> None:
        """What happened to the gateway itself: started, reloaded, a reload that failed."""
        self.notes.append({"time_s": time.time(), "text": text, "ok": ok})
        self._say(text)
        self.changed()

    def log(self, record: LogRecord) -> None:
        self.logs.append({"time_s": time.time(), "level": record.level.name, "message": record.message})
        self._say(str(record))
        self.changed()

    def forget_endpoints(self, clusters: dict[str, Cluster]) -> None:
        """Those that are configured no more, unless a request is still there."""
        for key, counters in list(self.endpoints.items()):
            cluster = clusters.get(key[0])
            if not counters.in_flight and (cluster is None or cluster.find(key[1]) is None):
                del self.endpoints[key]

    def begin(self, method: str, path: str, generation: int) -> RequestRecord:
        self._started += 1
        record = RequestRecord(self._started, time.time(), cut(method), cut(path.partition("?")[0]), generation)
        self.requests.append(record)
        self.changed()
        return record

    def end(self, record: RequestRecord, stream: HttpStream, duration_ms: float) -> None:
        decide(record, stream)
        record.duration_ms = duration_ms
        record.done = True
        trace = stream.trace
        record.details = {
            "callbacks": [callback_text(one) for one in list(trace.callbacks)[:DETAILS_MAX]],
            "host_calls": [host_call_text(one) for one in list(trace.host_calls)[:DETAILS_MAX]],
            "logs": [cut(str(one)) for one in list(trace.logs)[:DETAILS_MAX]],
        }
        self.host_calls.update(one.function for one in trace.host_calls)
        self.statuses[f"{record.status // 100}xx" if record.status else "no response"] += 1
        self.changed()

    def find(self, number: int) -> RequestRecord | None:
        return next((record for record in self.requests if record.number == number), None)


def response_status(headers: HeaderMap) -> int:
    """What the client gets: 500 if the plugin left a status that HTTP does not know."""
    status = headers.get(b":status") or b""
    return int(status) if status.isdigit() and 200 <= int(status) <= 999 else 500


def decide(record: RequestRecord, stream: HttpStream) -> None:
    """Where the request goes and why, as far as it is known."""
    record.route = stream.route_name()
    cluster = stream.cluster()
    record.cluster = cluster.name if cluster is not None else ""
    record.endpoint = stream.endpoint.address if stream.endpoint is not None else ""
    record.overridden = stream.overridden
    record.status = response_status(stream.downstream.headers) if stream.downstream.headers is not None else 0
    record.reason = _reason(stream)


def _reason(stream: HttpStream) -> str:
    reply = stream.local_reply
    if stream.reset_reason:
        return cut(stream.reset_reason)
    if reply is not None and reply.by_filter:
        return cut(f"answered by the plugin: {reply.details or 'no details'}")
    if reply is not None:
        return cut(f"{reply.details}: {reply.body.decode('utf-8', 'replace')}".removesuffix(": "))
    if stream.endpoint is None:
        return "held by the plugin" if stream.paused else ""
    return "chosen by the plugin" if stream.overridden else "round robin: the plugin chose none"
