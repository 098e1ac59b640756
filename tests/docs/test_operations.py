"""docs/operations.md shows what the filter writes."""

import asyncio
import json
import re
from pathlib import Path

from host_sim import EmbeddedRedis, Simulator

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
CLUSTER, REDIS = "outbound|80||llm.dns", "outbound|6379||redis.static"
ENDPOINTS = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]
EXPLAINED = {"decision_log": True, "decision_header": "x-decision"}
CONFIG = {
    "lb_policy": "prefix_cache",
    "lb_config": {"serviceFQDN": "redis.static", "servicePort": 6379, **EXPLAINED},
}
MESSAGES = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
HEADERS = {"content-type": "application/json", "x-request-id": "6ba7b810"}
PLUGIN = "ai_load_balancer.plugin:AiLoadBalancer"


async def _second_decision() -> tuple[str, str]:
    """The log line and the header of a request whose prompt is known, as if the second endpoint had been chosen."""
    with EmbeddedRedis() as server:
        async with Simulator(
            PLUGIN, "higress", CONFIG, clusters={CLUSTER: ENDPOINTS}, redis={REDIS: server.url}
        ) as sim:
            body = json.dumps({"model": "m", "messages": MESSAGES}).encode()
            exchanges = [await sim.request("POST", "/v1/chat/completions", HEADERS, body) for _ in range(2)]
            line = [record.message for record in sim.gateway.logs if " decision " in record.message][-1]
            header = exchanges[-1].header("x-decision")
            chosen = exchanges[-1].endpoint
            assert header is not None
            assert chosen is not None
    candidates = json.loads(line.partition(" decision ")[2])["candidates"]
    assert candidates == {endpoint: {"in_flight": int(endpoint == chosen)} for endpoint in ENDPOINTS}
    return line, header.replace(chosen, ENDPOINTS[1])


def test_the_examples_are_what_the_filter_writes() -> None:
    line, header = asyncio.run(_second_decision())
    shown = re.search(r"^\[ai-load-balancer\].*$", PAGE, re.MULTILINE)
    assert shown is not None
    head, _, explanation = shown[0].partition(" decision ")
    own_head, _, own_explanation = line.partition(" decision ")
    assert head == own_head
    ours, theirs = json.loads(own_explanation), json.loads(explanation)
    del ours["chosen"], theirs["chosen"], ours["candidates"], theirs["candidates"]
    assert list(ours.items()) == list(theirs.items())
    assert f"x-decision: {header}\n" in PAGE
