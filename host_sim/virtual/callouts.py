"""HTTP callouts of a plugin to scripted upstreams, in time."""

from collections.abc import Mapping

from ..abi import Target
from ..callouts import HttpCall, HttpResponse, error_response
from ..clock import Scheduler
from ..cluster import Cluster
from ..codec import Pair
from ..headers import HeaderMap
from .upstream import Playback, TimedRequest, TimedUpstream, UpstreamFault


class TimedCallouts:
    """callouts.HttpCallouts. A cluster without a healthy endpoint fails the call."""

    def __init__(
        self, clusters: Mapping[str, Cluster], target: Target, scheduler: Scheduler, upstream: TimedUpstream
    ) -> None:
        self._clusters = clusters
        self._target = target
        self._scheduler = scheduler
        self._upstream = upstream

    def start(self, call: HttpCall) -> None:
        headers = HeaderMap(call.headers)
        cluster = self._clusters[call.cluster]
        named = cluster.named_by(headers) if self._target == "envoy" else None
        endpoint = named or cluster.next_endpoint()
        if endpoint is None:
            self._scheduler.call_later(0, lambda: call.done(None))
            return
        asked = TimedRequest(endpoint.address, headers, lambda: call.body)
        Playback(self._scheduler, self._upstream(asked), _Collector(call), request_ended=True)


class _Collector:
    """upstream.ResponseSink that tells the plugin of the whole response."""

    def __init__(self, call: HttpCall) -> None:
        self._call = call
        self._headers: list[Pair] = []
        self._body = bytearray()

    def is_open(self) -> bool:
        return True

    def response_headers(self, pairs: list[Pair], end_of_stream: bool) -> None:
        self._headers = pairs
        if end_of_stream:
            self._done([])

    def response_body(self, data: bytes, end_of_stream: bool) -> None:
        self._body += data
        if end_of_stream:
            self._done([])

    def response_trailers(self, pairs: list[Pair]) -> None:
        self._done(pairs)

    def response_failed(self, fault: UpstreamFault) -> None:
        """A response that broke off is a failure; in the place of none, Envoy's client makes a 503."""
        none = error_response(503, "upstream connect error or disconnect/reset before headers")
        self._call.done(None if self._headers else none)

    def _done(self, trailers: list[Pair]) -> None:
        self._call.done(HttpResponse(self._headers, bytes(self._body), trailers))
