# mypy: disable-error-code="arg-type, has-type, misc, name-defined, valid-type, var-annotated"
# The classes here subclass a copy of the SDK that is imported at run time, which mypy cannot see.
"""HTTP and gRPC callouts by callback."""

import pytest


@pytest.fixture
def contexts(sdk, host):
    """A started VM: (root, stream)."""

    class Root(sdk.RootContext):
        http_context = sdk.HttpContext

    sdk.vm.start(Root, "envoy")
    host.call("on_context_create", 1, 0)
    host.call("on_context_create", 2, 1)
    for name, first in [("http_call", 4), ("grpc_call", 5), ("grpc_stream", 6)]:
        host.answers[name] = first
    return host.dispatcher.contexts[1], host.dispatcher.contexts[2]


HEADERS = [(":method", "GET"), (":path", "/"), (":authority", "a")]


def test_an_http_response_goes_to_its_callback(sdk, host, contexts):
    responses = []
    assert sdk.http_client.call(contexts[1], "cluster", HEADERS, responses.append, body=b"b", timeout_ms=7) == 4
    assert host.named("http_call") == [("cluster", HEADERS, b"b", (), 7)]
    host.call("on_http_call_response", 1, 4, 3, 5, 0)
    (response,) = responses
    assert repr(response) == "HttpResponse(3 headers, 5 bytes, 0 trailers)"
    assert host.named("set_effective_context") == [(2,)]
    host.answers["get_header_map_value"] = "204"
    host.answers["get_buffer_bytes"] = b"hello"
    assert (response.status(), response.body()) == (204, b"hello")
    assert host.named("get_header_map_value") == [(6, ":status")]


def test_no_response_arrives_as_a_value(sdk, host, contexts):
    results = []
    sdk.http_client.call(contexts[0], "cluster", HEADERS, results.append)
    host.answers["get_status"] = (11, "reset")
    host.call("on_http_call_response", 1, 4, 0, 0, 0)
    (result,) = results
    assert type(result) is sdk.errors.HttpCallFailed
    assert str(result) == "reset"
    assert host.named("set_effective_context") == []


def test_a_response_for_a_context_that_is_gone_is_dropped(sdk, host, contexts):
    responses = []
    sdk.http_client.call(contexts[1], "cluster", HEADERS, responses.append)
    host.call("on_delete", 2)
    host.call("on_http_call_response", 1, 4, 3, 5, 0)
    assert responses == []
    assert host.named("define_metric") == [(0, "proxywasm_dropped_replies")]


def test_http_calls_are_bounded(sdk, host, contexts, monkeypatch):
    monkeypatch.setattr(sdk._pending, "MAX_PENDING_CALLS", 1)
    sdk.http_client.call(contexts[1], "cluster", HEADERS, print)
    with pytest.raises(sdk.errors.TooManyPendingCalls):
        sdk.http_client.call(contexts[1], "cluster", HEADERS, print)
    assert len(host.named("http_call")) == 1


def test_a_unary_grpc_call_gets_its_message(sdk, host, contexts):
    results = []
    assert sdk.grpc_client.call(contexts[1], "cluster", "Svc", "Do", b"in", results.append, timeout_ms=9) == 5
    assert host.named("grpc_call") == [("cluster", "Svc", "Do", (), b"in", 9)]
    host.answers["get_buffer_bytes"] = b"out"
    host.call("on_grpc_receive", 1, 5, 3)
    host.call("on_grpc_close", 1, 5, 0)
    assert results == [b"out"]
    assert host.named("set_effective_context") == [(2,)]


def test_a_failed_grpc_call_gets_its_status(sdk, host, contexts):
    results = []
    sdk.grpc_client.call(contexts[1], "cluster", "Svc", "Do", b"in", results.append)
    host.answers["get_status"] = (14, "no connection")
    host.call("on_grpc_close", 1, 5, 14)
    assert [str(result) for result in results] == ["gRPC status 14: no connection"]
    assert results[0].status == 14


def test_a_cancelled_grpc_call_is_silent(sdk, host, contexts):
    results = []
    sdk.grpc_client.cancel(sdk.grpc_client.call(contexts[1], "cluster", "Svc", "Do", b"in", results.append))
    host.call("on_grpc_close", 1, 5, 1)
    assert results == []
    assert host.named("grpc_cancel") == [(5,)]


def make_stream(sdk, context):
    heard = []

    class Stream(sdk.grpc_client.GrpcStream):
        def on_initial_metadata(self, metadata):
            heard.append(("initial", metadata))

        def on_message(self, message):
            heard.append(("message", message))

        def on_trailing_metadata(self, metadata):
            heard.append(("trailing", metadata))

        def on_close(self, status, message):
            heard.append(("close", status, message))

    return Stream(context), heard


def test_a_grpc_stream_from_open_to_close(sdk, host, contexts):
    stream, heard = make_stream(sdk, contexts[1])
    stream.open("cluster", "Svc", "Chat")
    stream.send(b"one")
    stream.send(b"two", end_of_stream=True)
    stream.close()
    host.answers["get_header_map_pairs"] = [("a", "b")]
    host.answers["get_buffer_bytes"] = b"answer"
    host.answers["get_status"] = (13, "broken")
    host.call("on_grpc_receive_initial_metadata", 1, 6, 1)
    host.call("on_grpc_receive", 1, 6, 6)
    host.call("on_grpc_receive", 1, 6, 6)
    host.call("on_grpc_receive_trailing_metadata", 1, 6, 0)
    host.call("on_grpc_close", 1, 6, 13)
    assert heard == [
        ("initial", [("a", "b")]),
        ("message", b"answer"),
        ("message", b"answer"),
        ("trailing", []),
        ("close", 13, "broken"),
    ]
    assert host.named("grpc_send") == [(6, b"one", False), (6, b"two", True)]
    assert host.named("grpc_close") == [(6,)]
    with pytest.raises(ValueError, match="not open"):
        stream.send(b"late")


def test_a_grpc_stream_whose_context_is_gone_hears_nothing(sdk, host, contexts):
    stream, heard = make_stream(sdk, contexts[1])
    stream.open("cluster", "Svc", "Chat")
    host.call("on_delete", 2)
    host.call("on_grpc_receive", 1, 6, 6)
    host.call("on_grpc_close", 1, 6, 0)
    assert heard == []
    assert host.named("increment_metric") == [(1, 1), (1, 1)]
