"""Why a request went where it went: the log line and the response header on every rung, policy by policy."""

import asyncio
import json

import pytest
from proxywasm.enums import LogLevel

from .lease_bench import ENDPOINTS, POLICIES, LeaseBench

HEADER = "x-decision"
PROMPT = "the words of a prompt that nobody may read"
TERMS: dict[str, dict[str, object]] = {
    "global_least_request": {},
    "prefix_cache": {"matched_blocks": 0, "blocks": 1},
    "endpoint_hash": {"preferred": None},
}


class Explained:
    """A bench, one exchange, and what was told about it."""

    def __init__(self, guest, policy="global_least_request", endpoints=ENDPOINTS, **options):
        options = {"decision_log": True, "decision_header": HEADER, **options}
        self.bench = LeaseBench(guest, policy, endpoints, **options)

    def play(self, redis, held=0):
        """Another request, while `held` are in flight."""

        async def run():
            async with self.bench.running(redis):
                await self.bench.start(held)
                task = asyncio.get_running_loop().create_task(self.bench.ask(PROMPT))
                self.bench.gate.set()
                self.exchange = await task
                self.logs = list(self.bench.sim.gateway.logs)

        asyncio.run(run())
        lines = [record for record in self.exchange.logs if "decision {" in record.message]
        assert all(record.level == LogLevel.INFO for record in lines)
        assert not any(word in record.message for record in self.logs for word in PROMPT.split() if len(word) > 4)
        return [json.loads(record.message.partition("decision ")[2]) for record in lines]


@pytest.fixture(params=POLICIES)
def policy(request):
    return request.param


def terms_of(policy, line):
    terms = TERMS[policy]
    if "preferred" in terms:
        assert line["preferred"] in ENDPOINTS
        return {"preferred": line["preferred"]}
    return terms


@pytest.mark.parametrize("rung", ["redis", "local"])
def test_a_routed_request(higress_guest, policy, redis_server, database, rung):
    explained = Explained(higress_guest, policy)
    (line,) = explained.play(redis_server.url if rung == "redis" else None, held=2)
    chosen = explained.exchange.endpoint
    terms = terms_of(policy, line)
    head = {"policy": policy, "rung": rung, "outcome": "routed", "chosen": chosen, **terms}
    assert line == {**head, "of": 3, "candidates": line["candidates"]}
    assert set(line["candidates"]) == set(ENDPOINTS)
    in_flight = sum(candidate["in_flight"] for candidate in line["candidates"].values())
    assert in_flight == (3 if rung == "redis" else 2)  # Redis has counted the request already
    pairs = [f"{name}={value}" for name, value in head.items()]
    assert explained.exchange.header(HEADER) == "; ".join(pairs)


@pytest.mark.parametrize("rung", ["redis", "local"])
def test_a_rejected_request(higress_guest, redis_server, database, rung):
    explained = Explained(higress_guest, maxRequestCount=1)
    (line,) = explained.play(redis_server.url if rung == "redis" else None, held=3)
    assert explained.exchange.status == 429
    assert line == {
        "policy": "global_least_request",
        "rung": rung,
        "outcome": "rejected",
        "chosen": "",
        "of": 3,
        "candidates": {endpoint: {"in_flight": 1} for endpoint in ENDPOINTS},
    }
    assert explained.exchange.header(HEADER) == f"policy=global_least_request; rung={rung}; outcome=rejected"
    assert explained.exchange.header("retry-after") == "1"


def test_a_request_that_was_left_to_the_proxy(higress_guest, policy, redis_server, database):
    explained = Explained(higress_guest, policy, endpoints=("not-an-ip:80",))
    (line,) = explained.play(redis_server.url)
    assert (explained.exchange.status, explained.exchange.overridden) == (200, False)
    assert (line["rung"], line["outcome"], line["chosen"]) == ("proxy", "override_refused", "")
    assert line["candidates"] == {}
    header = explained.exchange.header(HEADER)
    assert header is not None
    assert header.startswith(f"policy={policy}; rung=proxy; outcome=override_refused")


def test_a_known_prefix_is_told(higress_guest, redis_server, database):
    explained = Explained(higress_guest, "prefix_cache")
    for matched in (0, 1):
        (line,) = explained.play(redis_server.url)
        assert (line["matched_blocks"], line["blocks"]) == (matched, 1)


def test_handicaps_are_told(higress_guest, redis_server, database):
    explained = Explained(higress_guest)
    explained.bench.statuses[ENDPOINTS[0]] = 503
    (line,) = explained.play(redis_server.url, held=6)
    candidate = line["candidates"][ENDPOINTS[0]]
    assert (candidate["capacity"], candidate["failures"]) == (1.0, 2)
    assert all(set(line["candidates"][endpoint]) == {"in_flight"} for endpoint in ENDPOINTS[1:])


@pytest.mark.parametrize(("to_log", "header"), [(False, ""), (True, ""), (False, HEADER)])
def test_log_and_header_are_separate_wishes(higress_guest, policy, redis_server, database, to_log, header):
    explained = Explained(higress_guest, policy, decision_log=to_log, decision_header=header)
    assert len(explained.play(redis_server.url)) == to_log
    assert (explained.exchange.header(HEADER) is not None) == bool(header)
    assert explained.exchange.overridden
