"""A plugin for the tests of the build tool."""

import importlib

from proxywasm import HttpContext, RootContext


def fail() -> None:
    raise RuntimeError("on purpose")  # the line that a readable traceback shows


class SmallHttp(HttpContext):
    """docstring-that-must-not-be-shipped"""

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        if self.request_headers.get("x-fail"):
            fail()
        self.request_headers.set("x-import", self.try_import(self.request_headers.get("x-module") or "math"))
        return None

    def try_import(self, name: str) -> str:
        try:
            return importlib.import_module(name).__name__
        except ImportError as error:
            return type(error).__name__


class Small(RootContext):
    http_context = SmallHttp
