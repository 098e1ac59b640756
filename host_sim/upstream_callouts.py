"""HTTP callouts of a plugin, made to the upstreams of a gateway in an asyncio loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing

from .abi import Target
from .callouts import HttpCall, HttpResponse, error_response
from .cluster import Cluster
from .headers import HeaderMap
from .upstream import ResponseHeaders, Upstream, UpstreamFailed, UpstreamRequest

CALLOUT_BODY_SIZE_MAX = 64 * 1024 * 1024


class UpstreamCallouts:
    """callouts.HttpCallouts. `on_error` hears of what is no failure of the upstream."""

    def __init__(
        self,
        clusters: Mapping[str, Cluster],
        upstream: Upstream,
        target: Target,
        on_error: Callable[[Exception], None],
    ) -> None:
        self._clusters = clusters
        self._upstream = upstream
        self._target = target
        self._on_error = on_error
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, call: HttpCall) -> None:
        task = asyncio.get_running_loop().create_task(self._make(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up what is on the way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make(self, call: HttpCall) -> None:
        headers = HeaderMap(call.headers)
        cluster = self._clusters[call.cluster]
        named = cluster.named_by(headers) if self._target == "envoy" else None
        endpoint = named or cluster.next_endpoint()
        if endpoint is None:
            call.done(None)
            return
        response: HttpResponse | None
        try:
            response = await self._response(UpstreamRequest(endpoint.address, headers, _body(call), len(call.body)))
        except Exception as error:
            response = None
            self._on_error(error)
        call.done(response)

    async def _response(self, request: UpstreamRequest) -> HttpResponse | None:
        """None for a response that broke off. Without one, Envoy's client makes a 503, and the plugin gets that."""
        response: HttpResponse | None = None
        body = bytearray()
        try:
            async with aclosing(self._upstream.exchange(request)) as events:
                async for event in events:
                    if isinstance(event, ResponseHeaders):
                        response = HttpResponse(event.pairs)
                    elif isinstance(event, bytes):
                        body += event
                        if len(body) > CALLOUT_BODY_SIZE_MAX:
                            raise UpstreamFailed(f"a response above {CALLOUT_BODY_SIZE_MAX} bytes")
                    elif response is not None:
                        response = HttpResponse(response.headers, trailers=event.pairs)
        except UpstreamFailed as error:
            if response is not None:
                return None
            return error_response(503, f"upstream connect error or disconnect/reset before headers: {error}")
        return HttpResponse(response.headers, bytes(body), response.trailers) if response is not None else None


async def _body(call: HttpCall) -> AsyncIterator[bytes]:
    if call.body:
        yield call.body
