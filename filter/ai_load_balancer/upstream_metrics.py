"""The healthy endpoints and their metrics in what Higress says about a cluster: only what has changed is read again.

The answer holds some 15 KB for each endpoint, and most requests find it as it was at the one before. Whether it is, its
hash tells, which costs a seventh of comparing it in the guest, and nothing has to be kept. If another text has the same
hash, once in four thousand million changes, the endpoint's metrics are as old as the scrape before.
"""

import json
from collections.abc import Callable
from struct import error as StructError
from struct import unpack_from
from typing import NamedTuple

from proxywasm import higress

from .policies.endpoint_metrics import Endpoint, View
from .policies.metrics_text import JSON_LINE_END, LINE_END, Metrics
from .upstream import NO_TICK_PERIOD_MS
from .upstream_hosts import MAX_CLUSTERS

_HEALTHY = b'"health_status":"Healthy"'
_STATUS = b'"health_status":"'
_METRICS = b'"metrics":"'

ReadMetrics = Callable[[bytes, bytes], Metrics | None]


class _Seen(NamedTuple):
    """A description: its hash, and the endpoint that it describes; None if it is not healthy."""

    digest: int
    endpoint: Endpoint | None


class _Answer(NamedTuple):
    """An answer: its size, its hash, the descriptions in it by address, and the view of the healthy ones."""

    size: int
    digest: int
    seen: dict[bytes, _Seen]
    view: View


class UpstreamMetrics:
    """Remembers per cluster what was read from the last answer of the host.

    `read` is the policy's: (text, line end) -> metrics, None if they are not there.
    """

    def __init__(self, read: ReadMetrics) -> None:
        self._read = read
        self._answers: dict[bytes, _Answer] = {}

    def view(self, cluster: bytes, answer: bytes, now_ms: float) -> View:
        """The healthy endpoints in `answer`, which is higress.upstream_hosts() for a request to `cluster`.

        As long as the answer is the same, so is the view. Raises ValueError if the answer is not a serialised map.
        """
        digest = hash(answer)
        last = self._answers.get(cluster)
        if last is not None and last.digest == digest and last.size == len(answer):
            return last.view
        seen = self._read_endpoints(answer, last.seen if last is not None else None, now_ms)
        view = View([one.endpoint for one in seen.values() if one.endpoint is not None])
        if len(self._answers) >= MAX_CLUSTERS:
            self._answers.clear()
        self._answers[cluster] = _Answer(len(answer), digest, seen, view)
        return view

    def _read_endpoints(self, answer: bytes, last: dict[bytes, _Seen] | None, now_ms: float) -> dict[bytes, _Seen]:
        seen: dict[bytes, _Seen] = {}
        for address, description in _pairs(answer):
            digest = hash(description)
            before = last.get(address) if last is not None else None
            if before is not None and before.digest == digest:
                seen[address] = before
            else:
                endpoint = self._read_endpoint(address, description, now_ms)
                seen[address] = _Seen(digest, _dated(endpoint, before, last is None, now_ms))
        return seen

    def _read_endpoint(self, address: bytes, description: bytes, now_ms: float) -> Endpoint | None:
        if not _is_healthy(description):
            return None
        return Endpoint(
            address.decode("utf-8", "surrogateescape"),
            self._read_metrics(description),
            hash(description) & 0xFFFFFFFF,
            now_ms,
        )

    def _read_metrics(self, description: bytes) -> Metrics | None:
        """Reads the text where it stands in the JSON; only if nothing is found so, the JSON is parsed."""
        start = description.find(_METRICS) + len(_METRICS)
        if start >= len(_METRICS):
            metrics = self._read(description[start : description.rfind(b'"')], JSON_LINE_END)
            if metrics is not None:
                return metrics
        text = _parsed(description).get("metrics")
        return self._read(text.encode("utf-8", "surrogatepass"), LINE_END) if isinstance(text, str) and text else None


class HostViews:
    """The metrics that the host's health checks have stored."""

    tick_period_ms = NO_TICK_PERIOD_MS

    def __init__(self, read: ReadMetrics) -> None:
        self._metrics = UpstreamMetrics(read)

    def view(self, cluster: bytes, now_ms: float) -> View:
        return self._metrics.view(cluster, higress.upstream_hosts(), now_ms)

    def on_tick(self, now_ms: int) -> None:
        pass


def _dated(endpoint: Endpoint | None, before: _Seen | None, is_first: bool, now_ms: float) -> Endpoint | None:
    """The endpoint with the time since when it is healthy: that of before, if it was so."""
    if endpoint is None or is_first:
        return endpoint
    if before is not None and before.endpoint is not None:
        return endpoint._replace(healthy_at_ms=before.endpoint.healthy_at_ms)
    return endpoint._replace(healthy_at_ms=now_ms)


def _pairs(answer: bytes) -> list[tuple[bytes, bytes]]:
    """The pairs of a serialised map, whose sizes come first; in bytes, as decoding them would cost most."""
    if not answer:
        return []
    try:
        (count,) = unpack_from("<I", answer)
        sizes = unpack_from(f"<{2 * count}I", answer, 4)
    except StructError:
        raise ValueError("serialised pairs: truncated") from None
    pairs = []
    at = 4 + 8 * count
    for key_size, value_size in zip(sizes[::2], sizes[1::2], strict=True):
        start = at + key_size + 1
        end = start + value_size
        pairs.append((answer[at : start - 1], answer[start:end]))
        at = end + 1
    if at != len(answer):
        raise ValueError("serialised pairs: their sizes are not the size of all")
    return pairs


def _is_healthy(description: bytes) -> bool:
    """As upstream_hosts.is_healthy, of bytes."""
    if _HEALTHY in description:
        return True
    if _STATUS in description:
        return False
    return _parsed(description).get("health_status") == "Healthy"


def _parsed(description: bytes) -> dict[str, object]:
    """The JSON object; empty if it is none."""
    try:
        value = json.loads(description)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
