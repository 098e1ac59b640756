"""Shared data, shared queues, metrics."""

import uuid
from typing import Any

from tests.conformance.probe import OK, Probe, refused


def fresh(name: str) -> str:
    """A name that nothing else uses: the hosts live as long as the suite."""
    return f"{name}_{uuid.uuid4().hex}"


def test_absent_data(probe: Probe) -> None:
    """A key that nobody set: NOT_FOUND"""
    seen = probe.play({"request_headers": [["get_shared_data", fresh("k")]]})
    assert seen.results("request_headers") == [None]


def test_data(probe: Probe) -> None:
    """Shared data outlives the stream; its CAS number is never 0 and changes with every value"""
    key = fresh("k")
    first = probe.play({"request_headers": [["set_shared_data", key, "1", 0], ["get_shared_data", key]]})
    second = probe.play(
        {"request_headers": [["get_shared_data", key], ["set_shared_data", key, "2", 0], ["get_shared_data", key]]}
    )
    _, (value, cas) = first.results("request_headers")
    assert value == "1"
    assert cas
    kept, done, (changed, other_cas) = second.results("request_headers")
    assert (kept, done, changed) == (["1", cas], OK, "2")
    assert other_cas not in (0, cas)


def test_cas(probe: Probe) -> None:
    """A set with the right CAS number: OK; with another: CAS_MISMATCH, and the value stays"""
    key = fresh("k")
    seen = probe.play(
        {
            "request_headers": [
                ["set_shared_data", key, "1", 0],
                ["get_shared_data", key],
                ["save", "seen"],
                ["set_shared_data", key, "2", "$seen.1"],
                ["set_shared_data", key, "3", "$seen.1"],
                ["get_shared_data", key],
            ]
        }
    )
    results = seen.results("request_headers")
    assert results[3:5] == [OK, refused("CAS_MISMATCH")]
    assert results[5][0] == "2"


def test_cas_on_missing_key(probe: Probe) -> None:
    """A set with any CAS number on a missing key: OK"""
    key = fresh("k")
    seen = probe.play({"request_headers": [["set_shared_data", key, "1", 77], ["get_shared_data", key]]})
    results = seen.results("request_headers")
    assert (results[0], results[1][0]) == (OK, "1")


def test_empty_data(probe: Probe) -> None:
    """An empty value is a value"""
    key = fresh("k")
    seen = probe.play({"request_headers": [["set_shared_data", key, "", 0], ["get_shared_data", key]]})
    assert seen.results("request_headers")[1][0] == ""


def test_queue(probe: Probe) -> None:
    """A queue: first in, first out; EMPTY when nothing is left"""
    name = fresh("q")
    seen = probe.play(
        {
            "request_headers": [
                ["register_shared_queue", name],
                ["save", "q"],
                ["dequeue_shared_queue", "$q"],
                ["enqueue_shared_queue", "$q", "one"],
                ["enqueue_shared_queue", "$q", "two"],
                ["dequeue_shared_queue", "$q"],
                ["dequeue_shared_queue", "$q"],
                ["dequeue_shared_queue", "$q"],
            ]
        }
    )
    assert seen.results("request_headers")[2:] == [None, OK, OK, "one", "two", None]


def test_queue_names(probe: Probe) -> None:
    """Registering twice gives one id; resolving finds it under its VM id and the empty one, not under another"""
    name = fresh("q")
    seen = probe.play(
        {
            "request_headers": [
                ["resolve_shared_queue", "plain", name],
                ["register_shared_queue", name],
                ["register_shared_queue", name],
                ["resolve_shared_queue", "plain", name],
                ["resolve_shared_queue", "", name],
                ["resolve_shared_queue", "other", name],
            ]
        }
    )
    absent, number, *rest = seen.results("request_headers")
    assert (absent, rest) == (None, [number, number, number, None])


def test_unknown_queue(probe: Probe) -> None:
    """Queues 0 and an unknown one: NOT_FOUND"""
    operations = [[name, queue, *rest] for queue in (0, 999_999) for name, *rest in QUEUE_CALLS]
    assert probe.play({"request_headers": operations}).results("request_headers") == [refused("NOT_FOUND")] * 4


QUEUE_CALLS: list[list[Any]] = [["enqueue_shared_queue", "x"], ["dequeue_shared_queue"]]


def test_queue_ready(probe: Probe) -> None:
    """on_queue_ready comes after the callback that filled the queue, with the root as the current context"""
    seen = probe.play(
        {
            "request_headers": [
                ["register_shared_queue", fresh("q")],
                ["save", "q"],
                ["at_queue", "ready"],
                ["enqueue_shared_queue", "$q", "item"],
                ["return", 1],
            ],
            "ready": [
                ["dequeue_shared_queue", "$q"],
                ["get_header_map_value", 0, ":path"],
                ["set_effective_context", "$context"],
                ["continue_stream", 0],
            ],
        }
    )
    assert seen.phases[:2] == ["request_headers", "ready"]
    assert seen.results("ready") == ["item", refused("BAD_ARGUMENT"), OK, OK]


def metric(probe: Probe, kind: int, *operations: Any) -> list[object]:
    """The results of operations on a new metric, whose id is `$m`."""
    script = [["define_metric", kind, fresh("m")], ["save", "m"], *operations]
    return probe.play({"request_headers": script}).results("request_headers")[2:]


def test_counter(probe: Probe) -> None:
    """A counter grows by increments above 0; 0 and less are BAD_ARGUMENT; record adds"""
    assert metric(
        probe,
        0,
        ["increment_metric", "$m", 2],
        ["increment_metric", "$m", 0],
        ["increment_metric", "$m", -1],
        ["record_metric", "$m", 5],
        ["get_metric", "$m"],
    ) == [OK, refused("BAD_ARGUMENT"), refused("BAD_ARGUMENT"), OK, 7]


def test_gauge(probe: Probe) -> None:
    """A gauge is set by record and moved by increment, in both directions"""
    assert metric(
        probe,
        1,
        ["record_metric", "$m", 7],
        ["increment_metric", "$m", -3],
        ["get_metric", "$m"],
        ["increment_metric", "$m", 10],
        ["get_metric", "$m"],
    ) == [OK, OK, 4, OK, 14]


def test_negative_gauge(probe: Probe) -> None:
    """A gauge below 0 is read as an unsigned number of 64 bits"""
    assert metric(probe, 1, ["record_metric", "$m", -1], ["get_metric", "$m"]) == [OK, 2**64 - 1]


def test_histogram(probe: Probe) -> None:
    """A histogram takes records; get and increment are BAD_ARGUMENT"""
    assert metric(probe, 2, ["record_metric", "$m", 7], ["get_metric", "$m"], ["increment_metric", "$m", 1]) == [
        OK,
        refused("BAD_ARGUMENT"),
        refused("BAD_ARGUMENT"),
    ]


def test_metric_type_bits(probe: Probe) -> None:
    """The low two bits of a metric's id are its type"""
    for kind in range(3):
        seen = probe.play({"request_headers": [["define_metric", kind, fresh("m")]]})
        assert seen.results("request_headers")[0] & 3 == kind


def test_unknown_metric(probe: Probe) -> None:
    """An unknown metric type: BAD_ARGUMENT; an unknown id of a counter or gauge: NOT_FOUND"""
    operations = [["define_metric", 9, "m"]]
    operations += [[name, number, *rest] for number in (4_000_000, 4_000_001) for name, *rest in METRIC_CALLS]
    seen = probe.play({"request_headers": operations})
    assert seen.results("request_headers") == [refused("BAD_ARGUMENT"), *[refused("NOT_FOUND")] * 6]


METRIC_CALLS: list[list[Any]] = [["get_metric"], ["record_metric", 1], ["increment_metric", 1]]


def test_metric_twice(probe: Probe) -> None:
    """A metric that is defined twice: two ids, one value"""
    name = fresh("m")
    seen = probe.play(
        {
            "request_headers": [
                ["define_metric", 0, name],
                ["save", "a"],
                ["define_metric", 0, name],
                ["save", "b"],
                ["increment_metric", "$a", 3],
                ["get_metric", "$b"],
            ]
        }
    )
    first, _, second, *_, value = seen.results("request_headers")
    assert first != second
    assert value == 3


def test_metrics_are_exported(probe: Probe) -> None:
    """Counters and gauges can be seen outside, under their names"""
    name = fresh("m")
    probe.play({"request_headers": [["define_metric", 1, name], ["save", "m"], ["record_metric", "$m", 5]]})
    assert probe.host.metrics()[name] == 5
