"""Engines' Prometheus texts, as they are and inside JSON; whatever else is in them is skipped."""

import json
import re
from collections.abc import Callable
from functools import partial

import pytest
from ai_load_balancer.policies.metrics_text import (
    ENGINES,
    JSON_LINE_END,
    LINE_END,
    MAX_SERIES,
    NO_LORA,
    Lora,
    Metrics,
    TargetReader,
    read_engine,
    values,
)
from hypothesis import given
from hypothesis import strategies as st

from bench.engine_texts import sglang, triton, trtllm, vllm

TEXTS: dict[str, Callable[..., str]] = {
    "vLLM V1": vllm,
    "vLLM V0": partial(vllm, version=0),
    "SGLang": sglang,
    "trtllm-serve": trtllm,
    "Triton": triton,
}


def in_json(text):
    """The text as it stands inside a JSON string."""
    return json.dumps(text).encode()[1:-1]


@pytest.fixture(params=["plain", "JSON"])
def read(request):
    """read_engine or another reader, of a text in one of its two forms."""

    def read(text, reader=read_engine):
        return reader(text.encode(), LINE_END) if request.param == "plain" else reader(in_json(text), JSON_LINE_END)

    return read


@pytest.mark.parametrize("engine", TEXTS)
def test_what_every_engine_prints_is_read(read, engine):
    text = TEXTS[engine](waiting=7, running=12, kv_usage=0.625)
    assert read(text) == Metrics(waiting=7, running=12, kv_usage=0.625)


@pytest.mark.shows("defect 9")
def test_the_newer_name_of_the_cache_usage_comes_first(read):
    text = vllm(kv_usage=0.5) + 'vllm:gpu_cache_usage_perc{engine="0"} 0.9\n'
    assert read(text).kv_usage == 0.5


def test_queues_of_data_parallel_engines_add_up_and_cache_usage_is_the_mean(read):
    text = "\n".join(
        f'vllm:{name}{{engine="{engine}"}} {value}'
        for name, amounts in {
            "num_requests_running": (3, 1),
            "num_requests_waiting": (4, 0),
            "kv_cache_usage_perc": (0.75, 0.25),
        }.items()
        for engine, value in enumerate(amounts)
    )
    assert read(text) == Metrics(waiting=4, running=4, kv_usage=0.5)


def test_ranks_of_sglang_that_mirror_each_other_count_once(read):
    text = sglang(waiting=3, running=5, kv_usage=0.5, dp_ranks=2, tp_ranks=4)
    assert read(text) == Metrics(waiting=6, running=10, kv_usage=0.5)


def test_priorities_of_sglang_are_parts_of_the_total(read):
    assert read(sglang(waiting=3, running=5, priorities=(-1, 0))) == Metrics(waiting=3, running=5, kv_usage=0.25)


def test_the_latest_lora_series_counts(read):
    text = vllm(loras=("sql-lora", "chat-lora"), max_lora=4)
    assert read(text).lora == Lora(frozenset(("sql-lora", "chat-lora")), 4)


def test_no_adapter_may_be_active(read):
    lora = read(vllm(loras=(), max_lora=2)).lora
    assert lora == Lora(frozenset(), 2)
    assert lora.has_room()


@pytest.mark.parametrize("labels", ["", '{max_lora="x",running_lora_adapters="a"}', "{max_lora=", '{running="a"}'])
def test_a_lora_metric_that_cannot_be_read_gives_no_room(read, labels):
    lora = read(vllm() + f"vllm:lora_requests_info{labels} 1.79e9\n").lora
    assert not lora.has_room()


@pytest.mark.shows("defect 9")
def test_without_a_lora_metric_there_is_no_lora(read):
    assert read(vllm()).lora == NO_LORA
    assert not NO_LORA.has_room()


@pytest.mark.parametrize(
    "line",
    [
        'vllm:num_requests_waiting{engine="9"} NaN',
        'vllm:num_requests_waiting{engine="9"} +Inf',
        'vllm:num_requests_waiting{engine="9"} -1',
        'vllm:num_requests_waiting{engine="9"} many',
        'vllm:num_requests_waiting{engine="9"}',
        'vllm:num_requests_waiting{engine="9"',
        "vllm:num_requests_waiting",
        "vllm:num_requests_waiting ",
        'vllm:num_requests_waiting_by_reason{engine="9"} 100',
        'xvllm:num_requests_waiting{engine="9"} 100',
        '# vllm:num_requests_waiting{engine="9"} 100',
    ],
)
def test_a_line_that_is_malformed_or_of_another_metric_is_skipped(read, line):
    good = 'vllm:num_requests_waiting{engine="0"} 3'
    assert read(f"{good}\n{line}\n").waiting == 3
    assert read(f"{line}\n{good}\n").waiting == 3
    assert read(f"{line}\n") is None


def test_a_timestamp_may_follow_and_labels_may_hold_anything(read):
    text = 'vllm:num_requests_waiting{model_name="a } b 7\\\\n é",engine="0"} 3 1790347303000'
    assert read(text).waiting == 3


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "up 1\n", "<html>not found</html>", "{}", "\\", '"'])
def test_a_text_without_an_engines_metrics_gives_none(read, text):
    assert read(text) is None


def test_what_is_missing_beside_the_queue_is_unknown(read):
    assert read("vllm:num_requests_waiting 2\n") == Metrics(waiting=2, running=None, kv_usage=None)


def test_the_number_of_series_is_bounded():
    text = "".join(f'vllm:num_requests_waiting{{engine="{i}"}} 1\n' for i in range(2 * MAX_SERIES))
    metrics = read_engine(text.encode())
    assert metrics is not None
    assert metrics.waiting == MAX_SERIES


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("vllm:num_requests_running", 8),
        ("vllm:kv_cache_usage_perc", 0.25),  # a share: the mean
        ("vllm:num_preemptions_total", 2000),
        ('vllm:num_requests_running{engine="1"}', 4),
        ("vllm:num_requests_running{engine=1}", 4),
        ("vllm:num_requests", None),
        ("", None),
    ],
)
def test_one_metric_that_the_configuration_names(read, metric, expected):
    metrics = read(vllm(engines=2), TargetReader(metric))
    assert metrics == (None if expected is None else Metrics(target=expected))


@pytest.mark.parametrize(
    ("metric", "is_depth"),
    [
        ("vllm:num_requests_waiting", True),
        ("sglang:num_running_reqs", True),
        ("nv_trt_llm_request_metrics{request_type=waiting}", True),
        ("nv_trt_llm_request_metrics{request_type=max}", False),
        ("vllm:kv_cache_usage_perc", False),
    ],
)
def test_a_metric_that_counts_requests_is_known_as_one(metric, is_depth):
    assert TargetReader(metric).is_depth == is_depth


# Random texts against a reader that goes line by line with a regular expression.

_SAMPLE = re.compile(r"^vllm:num_requests_waiting(?:\{[^{}]*\})?[ \t]+(\S+)(?:[ \t]+\S+)?[ \t]*$")


def line_by_line(text):
    """The sum over the first group of lines of the metric; None if it has no value."""
    found = []
    lines = iter(text.split("\n"))
    for line in lines:
        if line.startswith(("vllm:num_requests_waiting{", "vllm:num_requests_waiting ")):
            break
    else:
        return None
    while line is not None and line.startswith("vllm:num_requests_waiting"):
        if not line.startswith(("vllm:num_requests_waiting{", "vllm:num_requests_waiting ")):
            break
        match = _SAMPLE.match(line)
        if match and re.fullmatch(r"\d+(\.\d+)?", match[1]):
            found.append(float(match[1]))
        line = next(lines, None)
    return sum(found) if found else None


lines = st.one_of(
    st.sampled_from(["# HELP x y", "", "up 1", "vllm:num_requests_waiting_by_reason 9", "vllm:num_requests_waiting"]),
    st.builds(
        "vllm:num_requests_waiting{} {}".format,
        st.sampled_from(["", '{engine="0"}', '{engine="1",model_name="a b"}', '{m="\\"é\\\\"}', "{"]),
        st.sampled_from(["0", "1.0", "2.5", "NaN", "-1", "x", "", "3 1790347303000"]),
    ),
)


@given(st.lists(lines, max_size=12).map("\n".join))
def test_random_texts_are_read_as_line_by_line(text):
    (series, *_), expected = ENGINES[0], line_by_line(text)
    for found in (values(text.encode(), series), values(in_json(text), series, JSON_LINE_END)):
        assert (sum(found) if found else None) == expected


@given(st.text(alphabet=st.sampled_from(list('vllm:num_requests_waiting{}="\\\n 019.NaN,')), max_size=200))
def test_no_text_raises(text):
    for reader in (read_engine, TargetReader("vllm:num_requests_waiting"), TargetReader('a{b="c"}')):
        reader(text.encode(), LINE_END)
        reader(in_json(text), JSON_LINE_END)
