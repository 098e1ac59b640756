# mypy: disable-error-code="arg-type, has-type, misc, name-defined, valid-type, var-annotated"
# The classes here subclass a copy of the SDK that is imported at run time, which mypy cannot see.
"""An exception in a callback is logged and counted, and goes no further."""

from proxywasm.enums import LogLevel


def start(sdk, host, on_request_headers):
    class Request(sdk.HttpContext):
        pass

    Request.on_request_headers = on_request_headers

    class Root(sdk.RootContext):
        http_context = Request

    sdk.vm.start(Root, "envoy")
    host.call("on_context_create", 1, 0)
    host.call("on_context_create", 2, 1)


def test_the_traceback_is_logged_once_and_counted(sdk, host):
    def on_request_headers(self, num_headers, end_of_stream):
        raise ValueError("no good")

    start(sdk, host, on_request_headers)
    for _ in range(2):
        assert host.call("on_request_headers", 2, 3, False) is None
    logged = host.named("log")
    assert [level for level, _ in logged] == [LogLevel.ERROR] * 2
    assert logged[0][1].startswith("on_request_headers of context 2 raised:\nTraceback")
    assert logged[0][1].endswith("ValueError: no good")
    assert host.named("define_metric") == [(0, "proxywasm_exceptions")]
    assert host.named("increment_metric") == [(1, 1), (1, 1)]


def test_a_long_traceback_is_bounded_at_both_ends(sdk, host):
    def on_request_headers(self, num_headers, end_of_stream):
        raise ValueError("x" * 100_000 + "the end")

    start(sdk, host, on_request_headers)
    host.call("on_request_headers", 2, 3, False)
    ((_, text),) = host.named("log")
    assert len(text) < sdk.log.MAX_MESSAGE_CHARACTERS + 100
    assert text.startswith("on_request_headers of context 2")
    assert text.endswith("the end")


def test_it_does_not_raise_when_the_host_refuses_log_or_metric(sdk, host):
    def on_request_headers(self, num_headers, end_of_stream):
        raise RecursionError

    start(sdk, host, on_request_headers)
    host.answers["define_metric"] = sdk.errors.host_error("proxy_define_metric", 10)
    assert host.call("on_request_headers", 2, 3, False) is None
    host.answers["log"] = sdk.errors.host_error("proxy_log", 10)
    assert host.call("on_request_headers", 2, 3, False) is None
