"""What is read of Higress's answer about a cluster, and that only what has changed is read again."""

import json
from contextlib import suppress

import pytest
from ai_load_balancer.policies.metrics_text import JSON_LINE_END, read_engine
from ai_load_balancer.upstream_hosts import MAX_CLUSTERS
from ai_load_balancer.upstream_metrics import UpstreamMetrics
from hypothesis import given
from hypothesis import strategies as st

from bench.engine_texts import sglang, triton, trtllm, vllm
from host_sim.codec import encode_pairs

CLUSTER = b"outbound|80||llm.dns"
NOW_MS = 1.8e12


def description(text: str | None = None, health="Healthy", **dump_options):
    about = {"health_status": health}
    if text is not None:
        about["metrics"] = text
    return json.dumps(about, **{"separators": (",", ":"), **dump_options}).encode()


def answer(**descriptions):
    """The serialised map; an endpoint is named by a letter."""
    return encode_pairs([(f"{name}:80".encode(), value) for name, value in descriptions.items()])


class Reader:
    """UpstreamMetrics, and the texts that it had to read."""

    def __init__(self):
        self.texts = []
        self.hosts = UpstreamMetrics(self.read)

    def read(self, text, line_end):
        self.texts.append(text)
        return read_engine(text, line_end)

    def view(self, answered, cluster=CLUSTER, now_ms=NOW_MS):
        return self.hosts.view(cluster, answered, now_ms)

    def waiting(self, answered, **options):
        view = self.view(answered, **options)
        return {address: one.waiting for address, one in zip(view.addresses, view.metrics, strict=True)}


@pytest.fixture
def reader():
    return Reader()


def test_the_healthy_endpoints_and_their_metrics_in_the_answers_order(reader):
    answered = answer(
        b=description(vllm(waiting=3)),
        down=description(vllm(waiting=9), health="Unhealthy"),
        a=description(sglang(waiting=1)),
        c=description(trtllm(waiting=2)),
        d=description(triton(waiting=4)),
    )
    assert reader.waiting(answered) == {"b:80": 3, "a:80": 1, "c:80": 2, "d:80": 4}


@pytest.mark.parametrize("text", [None, "", "up 1\n", "<html>", "vllm:num_requests_waiting NaN\n", '"', "\\"])
def test_one_endpoint_without_metrics_leaves_the_others_as_they_are(reader, text):
    view = reader.view(answer(a=description(text), b=description(vllm(waiting=3))))
    assert view.addresses == ("a:80", "b:80")
    assert view.known == [1]
    assert view.metrics[1].waiting == 3


@pytest.mark.parametrize(
    "options",
    [
        {"separators": (", ", ": ")},
        {"indent": 2},
        {"sort_keys": True, "ensure_ascii": False},
    ],
)
def test_json_in_another_form_is_read_too(reader, options):
    text = vllm(waiting=3, model="modèle 模型")
    assert reader.waiting(answer(a=description(text, **options))) == {"a:80": 3}


def test_json_that_escapes_more_than_it_must_is_read_too(reader):
    escaped = "".join(f"\\u{ord(character):04x}" for character in "vllm:num_requests_waiting 3\n")
    about = b'{"health_status":"Healthy","metrics":"%b"}' % escaped.encode()
    assert reader.waiting(answer(a=about)) == {"a:80": 3}


def test_metrics_cannot_pretend_to_be_the_status(reader):
    text = 'x{a="\\"health_status\\":\\"Healthy\\""} 1\n"health_status":"Healthy"'
    assert reader.waiting(answer(a=description(text, health="Unhealthy"))) == {}


@pytest.mark.parametrize("about", [b"", b"not JSON", b"[]", b"{}", b"[" * 100_000, b'{"health_status":1}', b"\xff"])
def test_a_description_that_cannot_be_read_is_not_healthy(reader, about):
    assert reader.waiting(answer(a=about, b=description(vllm()))) == {"b:80": 0}


def test_an_equal_answer_gives_the_same_view(reader):
    texts = [answer(a=description(vllm()), b=description(vllm(waiting=1))) for _ in range(2)]
    assert texts[0] is not texts[1]
    assert reader.view(texts[0]) is reader.view(texts[1], now_ms=NOW_MS + 1)
    assert len(reader.texts) == 2


@pytest.mark.shows("defect 9")
def test_only_the_changed_text_is_read_again(reader):
    before = {"a": description(vllm(waiting=1)), "b": description(vllm(waiting=2)), "c": description(vllm(waiting=3))}
    first = reader.view(answer(**before))
    reader.texts.clear()
    second = reader.view(answer(**{**before, "b": description(vllm(waiting=7))}), now_ms=NOW_MS + 5)
    assert len(reader.texts) == 1
    assert [metrics.waiting for metrics in second.metrics] == [1, 7, 3]
    assert list(second.scrapes.scraped_at_ms) == [NOW_MS, NOW_MS + 5, NOW_MS]
    changed = [first.scrapes.fingerprints[i : i + 4] != second.scrapes.fingerprints[i : i + 4] for i in (0, 4, 8)]
    assert changed == [False, True, False]


def test_endpoints_that_move_come_and_go_cost_nothing_for_the_others(reader):
    a, b, c = (description(vllm(waiting=waiting)) for waiting in (1, 2, 3))
    reader.view(answer(a=a, b=b))
    reader.texts.clear()
    assert reader.waiting(answer(c=c, b=b, a=a)) == {"c:80": 3, "b:80": 2, "a:80": 1}
    assert reader.waiting(answer(a=a)) == {"a:80": 1}
    assert len(reader.texts) == 1


def test_an_endpoint_is_new_when_it_comes_or_recovers(reader):
    up, down = description(vllm()), description(vllm(), health="Unhealthy")
    assert reader.view(answer(a=up, b=down)).healthy_at_ms == [None]
    assert reader.view(answer(a=up, b=up, c=up), now_ms=NOW_MS + 1).healthy_at_ms == [None, NOW_MS + 1, NOW_MS + 1]
    changed = description(vllm(waiting=1))
    view = reader.view(answer(a=changed, b=changed, c=down), now_ms=NOW_MS + 2)
    assert view.healthy_at_ms == [None, NOW_MS + 1]
    assert reader.view(answer(a=up, b=up, c=up), now_ms=NOW_MS + 3).healthy_at_ms == [None, NOW_MS + 1, NOW_MS + 3]


def test_clusters_do_not_displace_each_other(reader):
    ours, theirs = answer(a=description(vllm())), answer(b=description(vllm()))
    for _ in range(3):
        assert reader.view(ours, b"ours").addresses == ("a:80",)
        assert reader.view(theirs, b"theirs").addresses == ("b:80",)
    assert len(reader.texts) == 2


def test_the_clusters_are_bounded(reader):
    for i in range(2 * MAX_CLUSTERS):
        reader.view(answer(a=description("")), b"%d" % i)
    assert len(reader.hosts._answers) <= MAX_CLUSTERS


def test_no_endpoints_at_all(reader):
    assert reader.view(b"").addresses == reader.view(encode_pairs([])).addresses == ()


WHOLE = answer(a=description(vllm(waiting=1)), b=description(vllm(waiting=2)))


@pytest.mark.parametrize(
    "bad", [WHOLE[:-1], WHOLE[:10], WHOLE[:3], WHOLE + b"\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f" + WHOLE[4:]]
)
def test_what_is_no_serialised_map_is_refused_and_changes_nothing(reader, bad):
    view = reader.view(WHOLE)
    with pytest.raises(ValueError, match="serialised pairs"):
        reader.view(bad)
    assert reader.view(WHOLE) is view


@given(st.binary(max_size=80))
def test_random_bytes_are_a_map_or_refused(junk):
    with suppress(ValueError):
        Reader().view(junk)


def test_the_text_is_read_where_it_stands(reader, monkeypatch):
    """No description in the host's form is parsed, or copied to be unescaped, whether it is healthy or not."""

    def refuse(*_):
        raise AssertionError("parsed")

    monkeypatch.setattr(json, "loads", refuse)
    text = vllm(waiting=3, model="m")
    view = reader.view(answer(a=description(text), b=description(text, health="Unhealthy")))
    assert reader.texts == [json.dumps(text).encode()[1:-1]]
    assert view.metrics == [read_engine(text.encode())]
    assert view.metrics[0].waiting == 3


@pytest.mark.parametrize("options", [{}, {"loras": ("a",), "max_lora": 2}, {"engines": 4}])
def test_both_forms_of_a_text_are_read_alike(options):
    text = vllm(waiting=3, **options)
    assert read_engine(json.dumps(text).encode()[1:-1], JSON_LINE_END) == read_engine(text.encode()) is not None
