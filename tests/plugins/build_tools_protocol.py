"""A plugin that checks instances against a protocol, for which `typing` imports `inspect`."""

from typing import Protocol, runtime_checkable

from proxywasm import HttpContext, RootContext


@runtime_checkable
class Named(Protocol):
    name: str


class Http(HttpContext):
    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        self.request_headers.set("x-result", str(isinstance(object(), Named)))
        return None


class Checking(RootContext):
    http_context = Http
