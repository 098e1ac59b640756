"""The typed layers over the host calls: what goes to the host, and what comes back."""

import pytest


def test_a_header_map_is_bound_to_its_map(sdk, host):
    host.answers["get_header_map_value"] = lambda map_type, name: f"{map_type} {name}"
    context = sdk.HttpContext(2, None)
    assert context.request_headers.get("a") == "0 a"
    assert context.request_trailers.get("a") == "1 a"
    assert context.response_headers.get("a") == "2 a"
    assert context.response_trailers.get("a") == "3 a"
    headers = context.response_headers
    headers.set("a", "b")
    headers.add("a", "c")
    headers.remove("d")
    headers.replace_all([("e", "f")])
    assert host.calls[4:] == [
        ("replace_header_map_value", 2, "a", "b"),
        ("add_header_map_value", 2, "a", "c"),
        ("remove_header_map_value", 2, "d"),
        ("set_header_map_pairs", 2, [("e", "f")]),
    ]


def test_a_buffer_reads_and_writes_its_parts(sdk, host):
    body = sdk.buffers.request_body
    host.answers["get_buffer_bytes"] = b"text"
    whole = sdk.buffers.WHOLE_BUFFER_BYTES
    assert body.get() == b"text"
    body.get(2, 3)
    body.set("new")
    body.append(b"after")
    body.prepend(b"before")
    assert host.calls == [
        ("get_buffer_bytes", 0, 0, whole),
        ("get_buffer_bytes", 0, 2, 3),
        ("set_buffer_bytes", 0, 0, whole, "new"),
        ("set_buffer_bytes", 0, whole, 0, b"after"),
        ("set_buffer_bytes", 0, 0, 0, b"before"),
    ]


def test_configurations_are_bytes_even_when_there_is_none(sdk, host):
    root = sdk.RootContext(1)
    assert root.plugin_configuration() == b""
    host.answers["get_buffer_bytes"] = b"{}"
    assert root.vm_configuration() == b"{}"
    assert [arguments[0] for arguments in host.named("get_buffer_bytes")] == [7, 6]


def test_property_paths_are_joined_by_nul(sdk, host):
    host.answers["get_property"] = b"value"
    assert sdk.properties.get("xds", "route_name") == b"value"
    assert sdk.Property("xds", "route_name").get() == b"value"
    sdk.properties.set(("a", "b"), "c")
    assert host.calls == [
        ("get_property", "xds\0route_name"),
        ("get_property", b"xds\0route_name"),
        ("set_property", "a\0b", "c"),
    ]


@pytest.mark.parametrize(("target", "path", "hold"), [("higress", b"route_name", 4), ("envoy", b"xds\0route_name", 1)])
def test_capabilities_tell_where_things_are(sdk, host, target, path, hold):
    sdk.vm.start(sdk.RootContext, target)
    capabilities = sdk.capabilities.current()
    capabilities.route_name.get()
    assert host.calls == [("get_property", path)]
    assert capabilities.hold_request == hold
    assert capabilities.redis == (target == "higress")


def test_there_are_no_capabilities_before_the_start(sdk):
    with pytest.raises(RuntimeError, match="no target is chosen"):
        sdk.capabilities.current()


def test_metrics_are_defined_at_the_first_use_and_once(sdk, host):
    counter, gauge, histogram = sdk.Counter("c"), sdk.Gauge("g"), sdk.Histogram("h")
    assert host.calls == []
    host.answers["define_metric"] = lambda kind, name: {"c": 4, "g": 5, "h": 6}[name]
    counter.increment(1)
    counter.increment(2)
    gauge.set(7)
    gauge.add(-1)
    histogram.record(9)
    assert host.calls == [
        ("define_metric", 0, "c"),
        ("increment_metric", 4, 1),
        ("increment_metric", 4, 2),
        ("define_metric", 1, "g"),
        ("record_metric", 5, 7),
        ("increment_metric", 5, -1),
        ("define_metric", 2, "h"),
        ("record_metric", 6, 9),
    ]


def test_a_local_response_has_no_grpc_status_unless_told(sdk, host):
    sdk.send_local_response(429, "slow down", [("retry-after", "1")], "limited")
    assert host.calls == [("send_local_response", 429, "limited", "slow down", [("retry-after", "1")], -1)]


def test_the_current_stream_is_continued_or_closed(sdk, host):
    sdk.continue_request()
    sdk.continue_response()
    sdk.streams.close(2)
    assert host.calls == [("continue_stream", 0), ("continue_stream", 1), ("close_stream", 2)]


class SharedData:
    """One key with compare-and-swap; `rivals` writes come in between a read and its write."""

    def __init__(self, sdk, host, value, rivals):
        self.sdk, self.value, self.cas, self.rivals = sdk, value, 1, rivals
        host.answers["get_shared_data"] = self.get
        host.answers["set_shared_data"] = self.set

    def get(self, key):
        seen = None if self.value is None else (self.value, self.cas)
        if self.rivals:
            self.rivals -= 1
            self.value, self.cas = b"rival", self.cas + 1
        return seen

    def set(self, key, value, cas):
        if self.value is not None and cas != self.cas:
            raise self.sdk.errors.host_error("proxy_set_shared_data", 8)
        self.value, self.cas = value, self.cas + 1


@pytest.mark.parametrize(("value", "rivals"), [(b"1", 0), (b"1", 2), (None, 0), (None, 2)])
def test_an_update_is_never_lost_to_a_rival(sdk, host, value, rivals):
    shared = SharedData(sdk, host, value, rivals)
    seen = []

    def change(value):
        seen.append(value)
        return (value or b"none") + b"+1"

    expected = (b"rival" if rivals else value or b"none") + b"+1"
    assert sdk.shared_data.update("key", change) == expected
    assert shared.value == expected
    assert len(seen) == rivals + 1


def test_an_update_gives_up_after_its_attempts(sdk, host):
    SharedData(sdk, host, b"1", rivals=5)
    with pytest.raises(sdk.errors.CasMismatch):
        sdk.shared_data.update("key", lambda value: b"2", attempts=5)
    assert len(host.named("get_shared_data")) == 5


def test_without_a_host_a_call_says_what_is_missing():
    from proxywasm._host import _Detached

    with pytest.raises(RuntimeError, match="get_property: no proxy-wasm host is here"):
        _Detached().get_property("a")
