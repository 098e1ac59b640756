"""A plugin for the tests of the native guest."""

import logging
import random

from proxywasm import HttpContext, RootContext
from proxywasm._host import host

log = logging.getLogger(__name__)
made: list[int] = []


class Request(HttpContext):
    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        path = self.request_headers.get(":path")
        if path == "/log":
            log.warning("random %r", random.random())
        elif path == "/raise":
            raise ValueError("mine")
        elif path == "/type":
            return "CONTINUE"  # type: ignore[return-value]
        elif path == "/negative":
            return -1
        elif path == "/lazy":
            import proxywasm

            self.request_headers.set("x-same", str(proxywasm.HttpContext is HttpContext))
        elif path == "/end":
            self.request_headers.set("x-end", repr(end_of_stream))
        elif path == "/no-more":
            self.want_no_more("on_response_headers")
        elif path == "/refused":
            host.set_upstream_override_host("nonsense")
        return None

    def on_response_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        self.response_headers.set("x-response", "seen")
        return None


class Plugin(RootContext):
    http_context = Request

    def on_configure(self, configuration_size: int) -> bool | None:
        made.append(self.context_id)
        if b"refuse" in self.plugin_configuration():
            raise ValueError("a bad configuration")
        return len(made) == 1
