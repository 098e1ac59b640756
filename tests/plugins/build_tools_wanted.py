"""A plugin with a function that imports `inspect` when it is called."""

from proxywasm import HttpContext, RootContext


class Http(HttpContext):
    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        import inspect

        self.request_headers.set("x-result", str(inspect.signature(lambda a, *, b=1: a)))
        return None


class Wanting(RootContext):
    http_context = Http
