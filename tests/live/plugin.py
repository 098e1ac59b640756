"""A plugin for the tests of the live gateway; the request's path says what it does."""

import json
import logging

from proxywasm import DataAction, HeaderAction, HttpContext, RootContext, higress, send_local_response

log = logging.getLogger(__name__)


class Request(HttpContext):
    root: "Plugin"

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        path = self.request_headers.get(":path") or ""
        self.request_headers.set("x-end-of-stream", str(end_of_stream))
        if path.startswith("/hold"):
            return HeaderAction.STOP_ALL_ITERATION_AND_WATERMARK
        if path.startswith("/collect"):
            return HeaderAction.STOP_ITERATION
        if path.startswith("/refuse"):
            log.warning("refused %s", self.request_headers.get("x-why"))
            send_local_response(403, "not here")
        elif path.startswith("/choose"):
            higress.set_override_host(path.rpartition("=")[2])
            return HeaderAction.STOP_ITERATION if not end_of_stream else None
        return None

    def on_request_body(self, body_size: int, end_of_stream: bool) -> int | None:
        path = self.request_headers.get(":path") or ""
        if path.startswith("/collect") and not end_of_stream:
            return DataAction.STOP_ITERATION_AND_BUFFER
        return None

    def on_response_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        self.response_headers.set("x-greeting", self.root.greeting)
        if self.response_headers.get("x-bad-status"):
            self.response_headers.set(":status", "nonsense")
        return None


class Plugin(RootContext):
    http_context = Request
    greeting = ""

    def on_configure(self, configuration_size: int) -> bool | None:
        configuration = json.loads(self.plugin_configuration() or b"{}")
        if "greeting" not in configuration:
            log.error("no greeting")
            return False
        self.greeting = configuration["greeting"]
        return True
