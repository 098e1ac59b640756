"""Why a request went to its cluster: the line in the log and the header in the response, on both guests."""

import json

import pytest

from .test_cluster_drivers import HEADERS, MODES, OK, SERVICES, Gateway, hashed

HEADER = "x-lb-decision"
SECRET = "alice-7f3a"
EXPLAINED = {"decision_log": True, "decision_header": HEADER}


def lines(gateway):
    """What the log tells about decisions."""
    messages = [record.message for record in gateway.sim.gateway.logs]
    assert not any(SECRET in message for message in messages)
    return [json.loads(message.partition(" decision ")[2]) for message in messages if " decision " in message]


def header(gateway, stream):
    return gateway.sim.observe(stream).header(HEADER)


def explained(guest, mode, **lb_config):
    return Gateway(guest, "cluster_metrics", {"mode": mode, "service_list": SERVICES, **EXPLAINED, **lb_config})


@pytest.mark.parametrize("mode", MODES)
def test_a_decision_is_told_once_in_the_log_and_in_the_response(higress_guest, mode):
    gateway = explained(higress_guest, mode)
    stream = gateway.send()
    chosen = gateway.sent_to(stream)
    gateway.respond(stream)
    [line] = lines(gateway)
    assert (line["policy"], line["rung"], line["outcome"]) == ("cluster_metrics", "local", "routed")
    assert (line["mode"], line["chosen"]) == (mode, chosen)
    assert chosen in line["candidates"]
    assert (
        header(gateway, stream) == f"policy=cluster_metrics; rung=local; outcome=routed; chosen={chosen}; mode={mode}"
    )
    gateway.finish()


def test_least_busy_tells_what_was_in_flight_before(higress_guest):
    gateway = explained(higress_guest, "LeastBusy")
    streams = [gateway.send() for _ in range(3)]
    in_flight = dict.fromkeys(SERVICES, 0)
    for stream, line in zip(streams, lines(gateway), strict=True):
        assert line["candidates"] == {service: {"in_flight": count} for service, count in in_flight.items()}
        in_flight[gateway.sent_to(stream)] += 1
    for stream in streams:
        gateway.respond(stream)
    gateway.finish()


def test_latency_modes_tell_means_and_nothing_about_the_untried(higress_guest):
    gateway = explained(higress_guest, "LeastTotalLatency")
    first = gateway.send()
    gateway.sim.advance(70)
    gateway.respond(first)
    gateway.respond(gateway.send())
    terms = lines(gateway)[1]["candidates"]
    assert terms.pop(gateway.sent_to(first)) == {"mean_ms": 70}
    assert list(terms.values()) == [{}, {}]
    gateway.finish()


def test_adaptive_score_tells_the_scores_of_those_that_were_compared(higress_guest):
    gateway = explained(higress_guest, "AdaptiveScore")
    for _ in range(4):
        gateway.respond(gateway.send(), {":status": "503"})
    stream = gateway.send()
    line = lines(gateway)[-1]
    assert len(line["candidates"]) == 2
    assert all(set(terms) == {"score", "in_flight", "error_rate"} for terms in line["candidates"].values())
    assert line["candidates"][line["chosen"]]["score"] == min(t["score"] for t in line["candidates"].values())
    assert any(terms["error_rate"] > 0 for terms in line["candidates"].values())
    gateway.respond(stream)
    gateway.finish()


def test_cluster_hash_tells_the_slot_and_not_the_header_s_value(higress_guest):
    gateway = hashed(higress_guest, (50, 50), **EXPLAINED)
    stream = gateway.send(**{"x-mse-consumer": SECRET})
    gateway.respond(stream)
    [line] = lines(gateway)
    slot = line.pop("slot")
    chosen = SERVICES[slot // 50]
    assert line == {
        "policy": "cluster_hash",
        "rung": "header",
        "outcome": "routed",
        "chosen": chosen,
        "of": 0,
        "candidates": {},
    }
    assert header(gateway, stream) == f"policy=cluster_hash; rung=header; outcome=routed; chosen={chosen}; slot={slot}"
    gateway.send()
    assert lines(gateway)[1]["outcome"] == "rejected"
    gateway.finish()


@pytest.mark.parametrize("mode", MODES)
def test_without_being_asked_nothing_is_told_and_nothing_more_is_read(higress_guest, mode):
    silent = Gateway(higress_guest, "cluster_metrics", {"mode": mode, "service_list": SERVICES})
    telling = explained(higress_guest, mode)
    calls = []
    for gateway in (silent, telling):
        stream = gateway.sim.open_stream()
        stream.request_headers(HEADERS, end_of_stream=True)
        gateway.respond(stream, OK)
        calls.append([record.function for record in gateway.sim.observe(stream).host_calls])
        gateway.finish()
    assert lines(silent) == []
    assert len(calls[0]) < len(calls[1])
    assert "proxy_log" not in calls[0]
