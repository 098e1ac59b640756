"""What a decision's log line and header say."""

import json
import logging

import pytest
from ai_load_balancer.explanation import MAX_CANDIDATES, Explainer, Explanation

CANDIDATES: dict[str, dict[str, float]] = {
    "10.0.0.1:80": {"in_flight": 2},
    "10.0.0.2:80": {"in_flight": 1, "capacity": 0.5, "failures": 0},
}
ROUTED = Explanation("redis", "routed", "10.0.0.2:80", {"matched_blocks": 3, "blocks": 4}, CANDIDATES)
REJECTED = Explanation("local", "rejected", "", {}, {})


class Request:
    """As much of a context as an explainer needs."""

    decision_text = ""


@pytest.fixture
def request_context(monkeypatch):
    monkeypatch.setattr("ai_load_balancer.explanation.log_prefix", lambda context: "[lb-1] ")
    return Request()


def explainer(to_log=True, header="x-decision"):
    return Explainer("prefix_cache", to_log, header)


@pytest.mark.shows("defect 13")
def test_the_line_is_json_with_all_that_was_compared():
    assert json.loads(explainer().line(ROUTED)) == {
        "policy": "prefix_cache", "rung": "redis", "outcome": "routed", "chosen": "10.0.0.2:80",
        "matched_blocks": 3, "blocks": 4, "of": 2, "candidates": CANDIDATES,
    }  # fmt: skip


def test_the_header_says_it_in_short():
    found = explainer().header_value(ROUTED)
    assert found == "policy=prefix_cache; rung=redis; outcome=routed; chosen=10.0.0.2:80; matched_blocks=3; blocks=4"
    assert explainer().header_value(REJECTED) == "policy=prefix_cache; rung=local; outcome=rejected"


@pytest.mark.parametrize("chosen", [0, MAX_CANDIDATES - 1, MAX_CANDIDATES, 99])
def test_a_line_is_bounded_and_names_the_chosen_one(chosen):
    candidates = {f"10.0.0.{i}:80": {"in_flight": i} for i in range(100)}
    line = explainer().line(Explanation("redis", "routed", f"10.0.0.{chosen}:80", {}, candidates))
    found = json.loads(line)
    assert found["of"] == 100
    assert found["candidates"][f"10.0.0.{chosen}:80"] == {"in_flight": chosen}
    assert MAX_CANDIDATES <= len(found["candidates"]) <= MAX_CANDIDATES + 1
    assert len(line) < 2000


def test_one_line_at_level_info(request_context, caplog):
    with caplog.at_level(logging.INFO):
        explainer().explain(request_context, ROUTED)
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.getMessage() == "[lb-1] decision " + explainer().line(ROUTED)
    assert "\n" not in record.getMessage()
    assert request_context.decision_text == explainer().header_value(ROUTED)


@pytest.mark.shows("key lb_config.decision_log", "key lb_config.decision_header")
def test_the_log_and_the_header_are_separate_wishes(request_context, caplog):
    with caplog.at_level(logging.INFO):
        explainer(to_log=False).explain(request_context, ROUTED)
    assert caplog.records == []
    assert request_context.decision_text
    other = Request()
    with caplog.at_level(logging.INFO):
        explainer(header="").explain(other, ROUTED)
    assert len(caplog.records) == 1
    assert other.decision_text == ""


def test_terms_from_clients_cannot_break_out_of_the_line():
    line = explainer().line(Explanation("header", "routed", 'a"\nb', {"preferred": "\r\nx: y\ud800"}, {}))
    assert "\n" not in line
    assert "\r" not in line
    assert json.loads(line)["chosen"] == 'a"\nb'
