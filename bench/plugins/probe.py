"""A plugin of which the instructions per host call are read: the header `x-work` names what on_request_body does.

Each piece of work is a loop of REPEATS rounds around one call, with the callable in a local variable.
"""

from proxywasm import HttpContext, Property, RootContext
from proxywasm._host import host

REPEATS = 1000

_set_property = Property("probe").set


class ProbeHttp(HttpContext):
    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        return None

    def on_request_body(self, body_size: int, end_of_stream: bool) -> int | None:
        WORK[self.request_headers.get("x-work") or "nothing"](self)
        return None

    def on_response_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        self.want_no_more("on_response_body")
        return None

    def on_response_body(self, body_size: int, end_of_stream: bool) -> int | None:
        return None


def nothing(context: ProbeHttp) -> None:
    for _ in range(REPEATS):
        pass


def get_header(context: ProbeHttp) -> None:
    get = context.request_headers.get
    for _ in range(REPEATS):
        get(":path")


def get_missing_header(context: ProbeHttp) -> None:
    get = context.request_headers.get
    for _ in range(REPEATS):
        get("x-missing")


def set_property(context: ProbeHttp) -> None:
    set_it = _set_property
    for _ in range(REPEATS):
        set_it("value")


def current_time(context: ProbeHttp) -> None:
    now = host.get_current_time_nanoseconds
    for _ in range(REPEATS):
        now()


WORK = {work.__name__: work for work in (nothing, get_header, get_missing_header, set_property, current_time)}


class Probe(RootContext):
    http_context = ProbeHttp
