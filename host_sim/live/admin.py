"""The admin port: the page, the state as JSON, and a stream of states for the page."""

import asyncio
import contextlib
import json
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from .observations import PAGE_ROWS_MAX
from .render import cut, host_call_text

if TYPE_CHECKING:
    from .gateway import LiveGateway

EVENT_STREAMS_MAX = 32
EVENT_INTERVAL_MIN_S = 0.2  # several changes within it are one event
ROOT_CALLS_MAX = 20  # host calls outside of requests that are shown
_PAGE = Path(__file__).parent / "page"
_FILES = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
# Only the page's own files: what a request or a log line holds can do nothing there.
_POLICY = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def admin_app(live: "LiveGateway") -> web.Application:
    admin = _Admin(live)
    app = web.Application()
    for path in _FILES:
        app.router.add_get(path, admin.file)
    app.router.add_get("/favicon.ico", admin.no_icon)
    app.router.add_get("/state", admin.state)
    app.router.add_get("/events", admin.events)
    app.router.add_get(r"/requests/{number:\d{1,18}}", admin.request)
    return app


def snapshot(live: "LiveGateway") -> dict[str, Any]:
    """What the page shows, as JSON-able values."""
    seen, worker = live.observations, live.worker
    vm = worker.vm
    plugin = live.config.plugin
    return {
        "time_s": time.time(),
        "plugin": {
            "name": plugin.plugin.name,
            "source": str(plugin.source),
            "target": plugin.target,
            "configuration": worker.number,
            "vm": f"dead: {cut(vm.dead)}" if vm.dead is not None else "running",
            "memory_bytes": vm.guest.memory_size if vm.dead is None else None,
            "streams": len(worker.streams),
            "retiring": live.retiring,
        },
        "listen": str(live.address),
        "endpoints": _endpoints(live),
        "requests": [record.summary() for record in islice(reversed(seen.requests), PAGE_ROWS_MAX)],
        "logs": list(islice(reversed(seen.logs), PAGE_ROWS_MAX)),
        "notes": list(reversed(seen.notes)),
        "host_calls": dict(seen.host_calls.most_common()),
        "root_calls": [host_call_text(one) for one in islice(reversed(vm.trace.host_calls), ROOT_CALLS_MAX)],
        "statuses": dict(seen.statuses),
        "metrics": live.shared.metrics.values(),
    }


def _endpoints(live: "LiveGateway") -> list[dict[str, Any]]:
    rows = []
    for cluster in live.worker.clusters.values():
        for endpoint in cluster.endpoints:
            counters = live.observations.counters(cluster.name, endpoint.address)
            rows.append(
                {
                    "cluster": cluster.name,
                    "address": endpoint.address,
                    "health": endpoint.health,
                    "check": counters.check,
                    "requests": counters.requests,
                    "in_flight": counters.in_flight,
                    "in_flight_max": counters.in_flight_max,
                    "errors": counters.errors,
                }
            )
    return rows


class _Admin:
    def __init__(self, live: "LiveGateway") -> None:
        self._live = live
        self._streams = 0

    async def file(self, request: web.Request) -> web.Response:
        name, kind = _FILES[request.path]
        return web.Response(text=(_PAGE / name).read_text(), content_type=kind, headers=_POLICY)

    async def no_icon(self, request: web.Request) -> web.Response:
        """Browsers ask for one."""
        return web.Response(status=204)

    async def state(self, request: web.Request) -> web.Response:
        return web.json_response(snapshot(self._live), headers=_POLICY)

    async def request(self, request: web.Request) -> web.Response:
        record = self._live.observations.find(int(request.match_info["number"]))
        if record is None:
            return web.json_response({"error": "no such request, or not kept any more"}, status=404, headers=_POLICY)
        return web.json_response({**record.summary(), **record.details}, headers=_POLICY)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: a snapshot at once, and one after every change."""
        if self._streams >= EVENT_STREAMS_MAX:
            return web.Response(status=503, text=f"{EVENT_STREAMS_MAX} pages are open already")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **_POLICY})
        await response.prepare(request)
        self._streams += 1
        observations = self._live.observations
        version = -1
        try:
            with contextlib.suppress(ConnectionError):
                while True:
                    version = await observations.wait_for_change(version)
                    await response.write(b"data: %b\n\n" % json.dumps(snapshot(self._live)).encode())
                    await asyncio.sleep(EVENT_INTERVAL_MIN_S)
        finally:
            self._streams -= 1
        return response
