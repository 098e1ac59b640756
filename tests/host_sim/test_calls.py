"""Host calls that are not about one stream's bytes: time, log, properties, callouts, shared data, queues."""

import pytest
from proxywasm.enums import LogLevel

from host_sim.callouts import HttpResponse
from host_sim.clock import MANUAL_EPOCH_NS
from host_sim.errors import LeftoverError, LoadError
from host_sim.tokens import CallKind, Tokens
from tests.host_sim.guests import REQUEST, Play, status_of

CALL_HEADERS = [(b":method", b"GET"), (b":path", b"/metrics"), (b":authority", b"llm")]


def ask(*calls, target="higress", in_stream=True, **options):
    """The results of host calls made in a request's headers callback or, outside a stream, in a tick."""
    results = []

    def callback(call, *arguments):
        for name, *values in calls:
            status = status_of(call, name, *values)
            results.append(call(name, *values) if status == "OK" else status)
        return 0

    sim = Play(target, **options).on(**{"request_headers" if in_stream else "tick": callback}).start()
    if in_stream:
        sim.open_stream().request_headers(REQUEST)
    else:
        sim.vm.tick()
    return results


def test_log_is_gated_by_level():
    def tick(call, root):
        for level in range(6):
            call("log", level, b"level %d" % level)

    sim = Play(log_level=LogLevel.WARN).on(tick=tick).start()
    sim.vm.tick()
    assert [str(record) for record in sim.gateway.logs] == ["[WARN] level 3", "[ERROR] level 4", "[CRITICAL] level 5"]
    assert ask(("log", 6, b"")) == ["BAD_ARGUMENT"]
    assert ask(("get_log_level",), log_level=LogLevel.ERROR) == [4]


def test_time_is_the_schedulers():
    assert ask(("get_current_time_nanoseconds",)) == [MANUAL_EPOCH_NS]


def test_ticks():
    ticks = []

    def configure(call, root, size):
        call("set_tick_period_milliseconds", 100)
        return 1

    def tick(call, root):
        ticks.append(call("get_current_time_nanoseconds") - MANUAL_EPOCH_NS)
        if len(ticks) == 3:
            call("set_tick_period_milliseconds", 0)

    sim = Play().on(configure=configure, tick=tick).start()
    sim.advance(1000)
    assert ticks == [100_000_000, 200_000_000, 300_000_000]
    sim.finish()


def test_a_plugin_that_returns_false_does_not_start():
    def configure(call, root, size):
        call("log", 4, b"lb_policy is missing")
        return 0

    with pytest.raises(LoadError, match=r"proxy_on_configure: it returned false.*\n.*lb_policy is missing"):
        Play().on(configure=configure).start()
    with pytest.raises(LoadError, match="proxy_on_vm_start"):
        Play().on(vm_start=lambda *arguments: 0).start()


def test_configuration_buffers():
    seen = []

    def configure(call, root, size):
        seen.extend([size, call("get_buffer_bytes", 7, 0, size), call("get_buffer_status", 7)])
        seen.append(status_of(call, "set_buffer_bytes", 7, 0, 0, b"x"))
        return 1

    Play(plugin_config={"a": 1}).on(configure=configure).start()
    assert seen == [8, b'{"a": 1}', (8, 0), "BAD_ARGUMENT"]
    assert ask(("get_buffer_bytes", 0, 0, 1), ("get_buffer_bytes", 9, 0, 1)) == [b"", b""]
    assert ask(("get_buffer_bytes", 7, 0, 1), ("get_buffer_bytes", 10, 0, 1)) == ["NOT_FOUND", "BAD_ARGUMENT"]


def test_properties_by_flavour():
    """Higress answers route_name, cluster_name; stock Envoy the same two below "xds", not the bare names."""
    paths = [
        ("get_property", path) for path in (b"route_name", b"cluster_name", b"xds\0route_name", b"xds\0cluster_name")
    ]
    assert ask(*paths) == [b"route", b"llm", "NOT_FOUND", "NOT_FOUND"]
    assert ask(*paths, target="envoy") == ["NOT_FOUND", "NOT_FOUND", b"route", b"llm"]
    assert ask(("get_property", b"request\0path"), ("get_property", b"plugin_root_id")) == [b"/v1/chat", b"plugin"]


def test_set_property():
    """set_property without a stream -> NOT_FOUND."""
    assert ask(("set_property", b"a", b"1"), in_stream=False) == ["NOT_FOUND"]
    assert ask(("set_property", b"a", b"1"), ("get_property", b"a")) == [None, b"1"]
    assert ask(("set_property", b"set_decoder_buffer_limit", b"ten")) == [None]


def test_effective_context():
    assert ask(("set_effective_context", 99), ("set_effective_context", 1)) == ["BAD_ARGUMENT", None]


def test_foreign_functions():
    double = {"double": lambda vm, argument: argument * 2}
    calls = [("call_foreign_function", b"double", b"ab"), ("call_foreign_function", b"none", b"")]
    assert ask(*calls, foreign_functions=double) == [b"abab", "NOT_FOUND"]
    level = ("call_foreign_function", b"get_log_level", b"")
    assert ask(level, log_level=LogLevel.ERROR) == [b"\4\0\0\0"]
    assert ask(level, target="envoy") == ["NOT_FOUND"]


def test_higress_calls_do_not_exist_on_envoy():
    calls = [("get_upstream_hosts",), ("redis_call", b"r", b""), ("set_upstream_override_host", b"10.0.0.1:80")]
    assert ask(*calls, target="envoy") == ["UNIMPLEMENTED"] * 3


@pytest.mark.parametrize(
    ("cluster", "headers", "timeout_ms", "status"),
    [
        (b"llm", CALL_HEADERS, -1, "BAD_ARGUMENT"),
        (b"none", CALL_HEADERS, 10, "BAD_ARGUMENT"),
        (b"llm", CALL_HEADERS[:1], 10, "BAD_ARGUMENT"),
        (b"llm", CALL_HEADERS, 0, "OK"),
    ],
)
def test_http_call_arguments(cluster, headers, timeout_ms, status):
    """negative timeout, unknown cluster, missing :method/:path/:authority -> BAD_ARGUMENT; timeout 0 = none."""
    seen = []
    sim = Play().on(
        tick=lambda call, root: seen.append(status_of(call, "http_call", cluster, headers, b"", [], timeout_ms))
    )
    sim = sim.start()
    sim.vm.tick()
    sim.advance(100_000)
    assert seen == [status]
    assert sim.vm.pending_calls == (1 if status == "OK" else 0)


class Callout:
    """A request that waits for an HTTP callout."""

    def __init__(self):
        self.seen = []
        self.play = Play().on(request_headers=self.request_headers, http_call_response=self.response)
        self.sim = self.play.start()
        self.stream = self.sim.open_stream()
        self.stream.request_headers(REQUEST)

    def request_headers(self, call, *arguments):
        self.call_id = call("http_call", b"llm", CALL_HEADERS, b"question", [], 1000)
        return 4

    def response(self, call, root, call_id, headers, size, trailers):
        self.seen.append((root, call_id, headers, size, trailers))
        self.seen.append(call("get_status"))
        call("set_effective_context", self.stream.context_id)
        self.seen.append(call("get_buffer_bytes", 4, 0, 100) if size else b"")
        self.seen.append(call("get_header_map_pairs", 6) if headers else [])
        call("continue_stream", 0)


def test_an_http_callout_is_answered():
    """The context id of proxy_on_http_call_response is the root's."""
    callout = Callout()
    call = callout.sim.deliver_http(HttpResponse([(b":status", b"200")], b"answer"))
    assert (call.cluster, call.body) == ("llm", b"question")
    assert callout.seen == [(1, callout.call_id, 1, 6, 0), (0, b""), b"answer", [(b":status", b"200")]]
    assert callout.stream.upstream.ended
    call.done(None)  # once only
    assert len(callout.seen) == 4
    callout.stream.abort()
    callout.sim.finish()


def test_a_callout_that_times_out_is_answered_with_504():
    """By Envoy's client, so that the plugin gets a response."""
    callout = Callout()
    callout.sim.advance(1000)
    assert callout.seen[1:3] == [(0, b""), b"upstream request timeout"]
    assert callout.seen[3][0] == (b":status", b"504")


def test_a_failed_callout_has_no_headers_and_a_status():
    """asynchronous failure -> response(call,0,0,0) with get_status (11,"reset")."""
    callout = Callout()
    callout.sim.deliver_http(None)
    assert callout.seen == [(1, callout.call_id, 0, 0, 0), (11, b"reset"), b"", []]


def test_call_ids_are_told_apart_by_their_low_bits():
    """Token low 2 bits: HTTP 0, gRPC call 1, gRPC stream 2, Redis 3; step 4."""
    tokens = Tokens()
    assert [tokens.next(kind) for kind in (*CallKind, CallKind.HTTP)] == [4, 5, 6, 7, 8]


def test_what_is_left_at_the_end_is_told():
    callout = Callout()
    with pytest.raises(LeftoverError, match=r"stream 2: .*stopped.*1 pending calls"):
        callout.sim.finish()


def test_on_queue_ready_is_never_re_entrant():
    order = []

    def tick(call, root):
        queue = call("register_shared_queue", b"q")
        call("enqueue_shared_queue", queue, b"item")
        order.append("enqueued")

    def queue_ready(call, root, queue):
        order.append(call("dequeue_shared_queue", queue))

    sim = Play().on(tick=tick, queue_ready=queue_ready).start()
    sim.vm.tick()
    assert order == ["enqueued", b"item"]


def test_shared_data_and_metrics_through_host_calls():
    calls = [
        ("set_shared_data", b"k", b"v", 0),
        ("get_shared_data", b"k"),
        ("resolve_shared_queue", b"", b"none"),
        ("define_metric", 1, b"gauge"),
    ]
    # every call of `ask` is made twice: once for its status, once for its result
    assert ask(*calls) == [None, (b"v", 2), "NOT_FOUND", 9]
