"""From an inference engine's Prometheus text to the few numbers that a choice needs.

A text has some 600 lines and few of them matter, so no loop runs over the lines: `bytes.find` goes to a metric's first
line, and as the format keeps a metric's lines together, the search ends where they do. The text may also stand inside
a JSON string, as a gateway's health check hands it over; then lines end in a backslash and an n, and only the lines
that are wanted are unescaped.

A line that cannot be read, or whose value is no finite number, is skipped.
"""

import json
from collections.abc import Iterable
from math import isfinite
from typing import NamedTuple

LINE_END = b"\n"
JSON_LINE_END = b"\\n"
_BACKSLASH = ord("\\")

MAX_SERIES = 1024  # of one metric; a text with more is not what an engine prints

# The text format: https://prometheus.io/docs/instrumenting/exposition_formats/
_AFTER_NAME = (b"{", b" ", b"\t")

# A metric named like this is a share, and the share of several engines is their mean; other numbers add up.
_SHARE_SUFFIXES = ("_perc", "_percent", "_usage", "_utilization", "_rate", "_ratio", "_fraction")


class Series(NamedTuple):
    """The samples of one metric: its name, and the labels that a sample must have, each as `name="value"`."""

    name: bytes
    labels: tuple[str, ...] = ()


class Lora(NamedTuple):
    """The adapters that run, and how many can at a time."""

    active: frozenset[str]
    max_active: int

    def has_room(self) -> bool:
        return len(self.active) < self.max_active


NO_LORA = Lora(frozenset(), 0)


class Metrics(NamedTuple):
    """What is known of an endpoint; None is unknown.

    waiting, running: requests; kv_usage: 0 to 1; target: the metric that the configuration names, if it names one
    """

    waiting: float | None = None
    running: float | None = None
    kv_usage: float | None = None
    lora: Lora = NO_LORA
    target: float | None = None


class Engine(NamedTuple):
    """What an engine calls things. `kv_usage` holds all its names, the newest first.

    Data-parallel engines print one series each. Where `rank` names the label that tells them apart, series that are
    alike in it are about one and the same queue (SGLang's tensor-parallel ranks mirror each other).
    """

    waiting: Series
    running: Series
    kv_usage: tuple[Series, ...]
    lora: Series | None = None
    rank: str = ""


VLLM = Engine(
    Series(b"vllm:num_requests_waiting"),
    Series(b"vllm:num_requests_running"),
    (Series(b"vllm:kv_cache_usage_perc"), Series(b"vllm:gpu_cache_usage_perc")),
    Series(b"vllm:lora_requests_info"),
)
SGLANG = Engine(
    Series(b"sglang:num_queue_reqs"),
    Series(b"sglang:num_running_reqs"),
    (Series(b"sglang:token_usage"),),
    rank="dp_rank",
)
TRTLLM = Engine(
    Series(b"trtllm_num_requests_waiting"),
    Series(b"trtllm_num_requests_running"),
    (Series(b"trtllm_kv_cache_utilization"),),
)
TRITON = Engine(
    Series(b"nv_trt_llm_request_metrics", ('request_type="waiting"',)),
    Series(b"nv_trt_llm_request_metrics", ('request_type="scheduled"',)),
    (Series(b"nv_trt_llm_kv_cache_block_metrics", ('kv_cache_block_type="fraction"',)),),
)
ENGINES = (VLLM, SGLANG, TRTLLM, TRITON)


def read_engine(text: bytes, line_end: bytes = LINE_END) -> Metrics | None:
    """The metrics of whichever engine printed the text; None if no engine's queue depth is in it."""
    for engine in ENGINES:
        waiting = values(text, engine.waiting, line_end, engine.rank)
        if waiting:
            running = values(text, engine.running, line_end, engine.rank)
            return Metrics(
                waiting=sum(waiting),
                running=sum(running) if running else None,
                kv_usage=_kv_usage(text, engine, line_end),
                lora=_lora(text, engine.lora, line_end) if engine.lora else NO_LORA,
            )
    return None


class TargetReader:
    """Reads one metric, given as `name` or `name{label="value",...}`."""

    def __init__(self, metric: str) -> None:
        name, _, labels = metric.strip().partition("{")
        self.series = Series(name.encode(), tuple(_split_labels(labels.rstrip("}"))))
        self.is_share = name.endswith(_SHARE_SUFFIXES)
        self.is_depth = any(self.series in (engine.waiting, engine.running) for engine in ENGINES)
        """The metric counts requests: those sent since the text was printed can be added to it."""

    def __call__(self, text: bytes, line_end: bytes = LINE_END) -> Metrics | None:
        rank = SGLANG.rank if self.series.name.startswith(b"sglang:") else ""
        found = values(text, self.series, line_end, rank)
        if not found:
            return None
        return Metrics(target=_mean(found) if self.is_share else sum(found))


def _split_labels(labels: str) -> Iterable[str]:
    """`a="1",b=2` -> `a="1"`, `b="2"`"""
    for label in filter(None, labels.split(",")):
        name, _, value = label.partition("=")
        yield f'{name.strip()}="{value.strip().strip(chr(34))}"'


def values(text: bytes, series: Series, line_end: bytes = LINE_END, rank: str = "") -> list[float]:
    """The finite values of a series that are not negative, one for each data-parallel engine."""
    samples = lines_after(text, series.name, line_end)
    if len(samples) > 1 or series.labels:
        return _combined([(_labels(sample, line_end), _value(sample)) for sample in samples], series.labels, rank)
    return [value for value in map(_value, samples) if value is not None]


def lines_after(text: bytes, name: bytes, line_end: bytes) -> list[bytes]:
    """What follows the name in each line of a metric: labels and value."""
    found: list[bytes] = []
    needle = line_end + name
    start = 0 if text.startswith(name) else _next_line(text, needle, 0, line_end)
    while start >= 0 and len(found) < MAX_SERIES:
        after = start + len(name)
        if text.startswith(_AFTER_NAME, after):
            end = _find(text, line_end, after, line_end)
            found.append(text[after:end] if end >= 0 else text[after:])
            start = end + len(line_end)
            if end < 0 or not text.startswith(name, start):
                break
        elif found:
            break  # the next metric, whose name goes on
        else:
            start = _next_line(text, needle, after, line_end)
    return found


def _next_line(text: bytes, needle: bytes, start: int, line_end: bytes) -> int:
    """Where the next line begins that begins with what follows the line end in `needle`; -1 if there is none."""
    at = _find(text, needle, start, line_end)
    return at + len(line_end) if at >= 0 else -1


def _find(text: bytes, needle: bytes, start: int, line_end: bytes) -> int:
    """Like text.find for what begins with a line end. In JSON, a backslash and an n may follow another backslash."""
    at = text.find(needle, start)
    while line_end == JSON_LINE_END and at > 0 and text[at - 1] == _BACKSLASH:
        at = text.find(needle, at + 1)
    return at


def _value(sample: bytes) -> float | None:
    """The value behind the labels; a timestamp may follow it."""
    try:
        value = float(sample.rpartition(b"}")[2].split(maxsplit=1)[0])
    except (ValueError, IndexError):
        return None
    return value if isfinite(value) and value >= 0 else None


def _labels(sample: bytes, line_end: bytes) -> str:
    """The labels with a comma before each name, so that a label is found as a whole."""
    labels = sample.rpartition(b"}")[0].lstrip()
    if line_end == JSON_LINE_END and b"\\" in labels:
        try:
            unescaped: str = json.loads(b'"%b"' % labels)
        except ValueError:
            return ""
        return "," + unescaped[1:]
    return "," + labels[1:].decode("utf-8", "replace")


def _label(labels: str, name: str) -> str:
    """The value of a label, empty if it is missing."""
    _, found, rest = labels.partition(f',{name}="')
    return rest.partition('"')[0] if found else ""


def _combined(samples: list[tuple[str, float | None]], wanted: tuple[str, ...], rank: str) -> list[float]:
    chosen: list[float] = []
    highest: dict[str, float] = {}
    for labels, value in samples:
        if value is None or not all("," + label in labels for label in wanted):
            continue
        if _label(labels, "priority"):
            continue  # SGLang prints each priority's requests beside their total, whose priority is ""
        if rank:
            key = _label(labels, rank)
            highest[key] = max(value, highest.get(key, value))
        else:
            chosen.append(value)
    return chosen + list(highest.values())


def _kv_usage(text: bytes, engine: Engine, line_end: bytes) -> float | None:
    for series in engine.kv_usage:
        found = values(text, series, line_end, engine.rank)
        if found:
            return _mean(found)
    return None


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def _lora(text: bytes, series: Series, line_end: bytes) -> Lora:
    """Every combination of labels is a series of its own, whose value is the time it was last true: the latest counts.

    Without such a metric there is no LoRA.
    """
    latest, latest_s = b"", -1.0
    for sample in lines_after(text, series.name, line_end):
        time_s = _value(sample)
        if time_s is not None and time_s > latest_s:
            latest, latest_s = sample, time_s
    if not latest:
        return NO_LORA
    labels = _labels(latest, line_end)
    active = _label(labels, "running_lora_adapters").split(",")
    max_active = _label(labels, "max_lora")
    return Lora(
        frozenset(filter(None, map(str.strip, active))),
        int(max_active) if max_active.isascii() and max_active.isdigit() else 0,
    )
