"""Rules 7 to 9, 11 and 12 of the semantics that a simulator must copy, each quoted; and the foreign functions."""

import zlib
from typing import Any

import pytest

from host_sim import Plugin
from tests.host_sim.guests import CLUSTERS, REQUEST, Play, ScriptedGuest, status_of

MARKER = "proxy_abi_version_0_2_1"
TARGETS = pytest.mark.parametrize("target", ["envoy", "higress"])


def results(target: str, *calls: tuple[Any, ...], in_stream: bool = True, **options: Any) -> list[Any]:
    """What each host call returned, or the name of the status that it was refused with."""
    found: list[Any] = []

    def callback(call: Any, *arguments: int) -> int:
        for name, *values in calls:
            try:
                found.append(call(name, *values))
            except Exception as error:
                found.append(str(error).partition(":")[0])
        return 0

    play = Play(target, MARKER, **options)  # type: ignore[arg-type]
    sim = play.on(**{"request_headers" if in_stream else "tick": callback}).start()
    if in_stream:
        sim.open_stream().request_headers(REQUEST)
    else:
        sim.vm.tick()
    return found


def foreign(name: str, argument: bytes = b"") -> tuple[Any, ...]:
    return ("call_foreign_function", name.encode(), argument)


def test_rule_7() -> None:
    """Shared data is scoped by vm_id; the CAS counter is never 0; cas 0 = unconditional; a non-zero cas on a missing
    key succeeds."""
    seen: dict[str, Any] = {}

    def guest(name: str) -> Any:
        def request_headers(call: Any, *arguments: int) -> int:
            missing = status_of(call, "get_shared_data", b"k")
            status_of(call, "set_shared_data", b"k", name.encode(), 77)
            value, cas = call("get_shared_data", b"k")
            wrong = status_of(call, "set_shared_data", b"k", b"x", cas + 1)
            seen[name] = (missing, value, cas > 0, wrong, status_of(call, "set_shared_data", b"k", name.encode(), 0))
            return 0

        return lambda target, host, environment: ScriptedGuest({"request_headers": request_headers}, MARKER, host)

    chain = [Plugin(name="b", vm_id="other", guest=guest("b")), Plugin(name="c", vm_id="vm", guest=guest("c"))]
    play = Play("envoy", MARKER, chain=chain)
    play.factory = guest("a")
    play.start().open_stream().request_headers(REQUEST)
    assert seen["a"] == ("NOT_FOUND", b"a", True, "CAS_MISMATCH", "OK")
    assert seen["b"] == ("NOT_FOUND", b"b", True, "CAS_MISMATCH", "OK")
    assert seen["c"] == ("OK", b"a", True, "CAS_MISMATCH", "OK")  # the key of a's vm_id; 77 is not its counter


def test_rule_8() -> None:
    """Queue id 0 is illegal; `on_queue_ready` is never re-entrant."""
    order: list[Any] = []

    def tick(call: Any, root: int) -> None:
        order.append(status_of(call, "enqueue_shared_queue", 0, b"x"))
        queue = call("register_shared_queue", b"q")
        call("enqueue_shared_queue", queue, b"1")
        call("enqueue_shared_queue", queue, b"2")
        order.append(queue)

    def queue_ready(call: Any, root: int, queue: int) -> None:
        order.append((root, call("dequeue_shared_queue", queue)))

    sim = Play().on(tick=tick, queue_ready=queue_ready).start()
    sim.vm.tick()
    assert order == ["NOT_FOUND", 1, (1, b"1"), (1, b"2")]


def test_rule_9() -> None:
    """Metrics: id low 2 bits = type, step 4; counter increment <= 0 -> BAD_ARGUMENT; record on a counter adds; get or
    increment of a histogram -> BAD_ARGUMENT; unknown id -> NOT_FOUND. Every definition makes a new id."""
    calls: list[Any] = [("define_metric", kind, b"m") for kind in (0, 0, 1, 2, 3)]
    calls += [("increment_metric", 4, 0), ("record_metric", 4, 2), ("increment_metric", 8, 3), ("get_metric", 4)]
    calls += [("get_metric", 6), ("increment_metric", 6, 1), ("get_metric", 12), ("record_metric", 12, 1)]
    calls += [("increment_metric", 5, -1), ("get_metric", 5)]
    ids = [4, 8, 5, 6, "BAD_ARGUMENT"]
    values = ["BAD_ARGUMENT", None, None, 5, "BAD_ARGUMENT", "BAD_ARGUMENT", "NOT_FOUND", "NOT_FOUND", None]
    assert results("envoy", *calls) == [*ids, *values, 0xFFFF_FFFF_FFFF_FFFF]


def test_rule_9_a_metric_is_known_in_the_vm_that_defined_it() -> None:
    sim = Play("envoy", MARKER, workers=2).start()
    first, second = (worker.vm.metric_ids for worker in sim.deployment.workers)
    metric_id = first.define(0, "m")
    first.increment(metric_id, 1)
    with pytest.raises(Exception, match="NOT_FOUND"):
        second.get(metric_id)
    assert second.get(second.define(0, "m")) == 1


def test_rule_11() -> None:
    """`set_property` without a stream -> NOT_FOUND. Special keys: `set_decoder_buffer_limit`,
    `set_encoder_buffer_limit` (decimal), `trace_span_tag.*`, `clear_route_cache`, `wasm_need_rebuild`;
    `plugin_vm_memory` is read as u64 LE."""
    assert results("higress", ("set_property", b"a", b"1"), in_stream=False) == ["NOT_FOUND"]
    calls: list[Any] = [("set_property", b"trace_span_tag.model", b"m"), ("get_property", b"trace_span_tag.model")]
    assert results("higress", *calls, ("get_property", b"plugin_vm_memory")) == [None, "NOT_FOUND", bytes(8)]
    assert results("envoy", *calls, ("get_property", b"plugin_vm_memory")) == [None, b"m", "NOT_FOUND"]
    sim = Play(buffer_size_max=1).on(
        request_headers=lambda call, *a: call("set_property", b"set_encoder_buffer_limit", b"3") or 0,
        response_headers=lambda *a: 4,
    )
    stream = sim.start().open_stream()
    stream.request_headers(REQUEST)
    stream.response_headers({":status": "200"}, end_of_stream=False)
    stream.response_body(b"123", end_of_stream=False)
    assert stream.paused
    stream.response_body(b"4")
    assert stream.downstream.headers.get(b":status") == b"500"


def test_rule_11_a_property_is_read_back_by_a_name_without_parts() -> None:
    """As seen on Envoy: what was set under a path of several parts is not found again."""
    calls: list[Any] = [("set_property", b"a", b"1"), ("get_property", b"a"), ("set_property", b"a\0b", b"1")]
    assert results("envoy", *calls, ("get_property", b"a\0b")) == [None, b"1", None, "NOT_FOUND"]


@TARGETS
def test_rule_12(target: str) -> None:
    """Properties: Higress answers `route_name`, `cluster_name`; stock Envoy answers `xds\\0route_name`,
    `xds\\0cluster_name`, not the bare names."""
    names = [b"route_name", b"cluster_name", b"xds\0route_name", b"xds\0cluster_name"]
    found = results(target, *(("get_property", name) for name in names))
    known, unknown = [b"route", b"llm"], ["NOT_FOUND"] * 2
    assert found == (known + unknown if target == "higress" else unknown + known)


def test_rule_12_stock_envoy_tells_the_route_as_it_was_looked_up_last() -> None:
    clusters = {**CLUSTERS, "other": ["10.1.0.1:80"]}
    calls: list[Any] = [("get_property", b"xds\0cluster_name"), ("replace_header_map_value", 0, b"to", b"other")]
    options: dict[str, Any] = {"clusters": clusters, "cluster_header": "to"}
    assert results("envoy", *calls, calls[0], **options) == [b"llm", None, b"llm"]
    calls = [("get_property", b"cluster_name"), calls[1]]
    assert results("higress", *calls, calls[0], **options) == [b"llm", None, b"other"]


# Foreign functions


@TARGETS
def test_compress_and_uncompress(target: str) -> None:
    packed = zlib.compress(b"abc" * 100)
    calls: list[Any] = [
        foreign("compress", b"abc" * 100),
        foreign("uncompress", packed),
        foreign("uncompress", b"nonsense"),
    ]
    found = results(target, *calls, foreign("uncompress", packed[:-5]))
    assert zlib.decompress(found[0]) == found[1] == b"abc" * 100
    assert found[2:] == ["SERIALIZATION_FAILURE"] * 2


def test_declare_property() -> None:
    read_only = b"\x0a\x01a\x10\x01"  # DeclarePropertyArguments{name: "a", readonly: true}
    calls: list[Any] = [foreign("declare_property", read_only), foreign("declare_property", read_only)]
    calls += [("set_property", b"a", b"1"), ("set_property", b"a", b"2"), ("get_property", b"a")]
    expected = [b"", "BAD_ARGUMENT", None, "BAD_ARGUMENT", b"1", "BAD_ARGUMENT"]
    assert results("envoy", *calls, foreign("declare_property", b"\x0a\x7f")) == expected


def test_set_envoy_filter_state() -> None:
    known = b"\x0a\x17envoy.tcp_proxy.cluster\x12\x03llm"  # SetEnvoyFilterStateArguments{path, value}
    calls: list[Any] = [foreign("set_envoy_filter_state", known), foreign("set_envoy_filter_state", b"\x0a\x01x")]
    assert results("envoy", *calls) == [b"", "NOT_FOUND"]
    assert results("envoy", calls[0], in_stream=False) == ["NOT_FOUND"]


def test_expressions_are_answered_as_those_that_envoy_cannot_parse() -> None:
    calls: list[Any] = [
        foreign("expr_create", b"request.path"),
        foreign("expr_evaluate", bytes(4)),
        foreign("expr_evaluate"),
    ]
    calls += [foreign("expr_delete", bytes(4)), foreign("expr_delete", b"x")]
    assert results("envoy", *calls) == ["BAD_ARGUMENT", "NOT_FOUND", "BAD_ARGUMENT", b"", "BAD_ARGUMENT"]


def test_those_of_higress_and_those_of_the_operator() -> None:
    calls: list[Any] = [
        foreign("get_log_level"),
        foreign("set_global_max_requests_per_io_cycle", bytes(4)),
        foreign("mine", b"ab"),
    ]
    options: dict[str, Any] = {"foreign_functions": {"mine": lambda vm, argument: argument[::-1]}}
    assert results("higress", *calls, **options) == [b"\1\0\0\0", b"", b"ba"]
    assert results("envoy", *calls, **options) == ["NOT_FOUND", "NOT_FOUND", b"ba"]
