"""The budgets of every policy, with few requests for each: fuel is deterministic. `ailb bench cost` plays more."""

import dataclasses
import json
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import mean

import pytest
from ai_load_balancer.config.policies import POLICIES
from click.testing import CliRunner

import bench.cost.command
from bench.cost import CHUNK_LIMIT, Cost, Effort, case_names, costs
from bench.cost.cases import cases
from bench.cost.chats import KB_1, KB_16, KB_128, Shape, chat, escaped_chat
from bench.cost.run import measure
from bench.modules import artifact
from host_sim import guest_factory
from host_sim.cli import main as ailb
from host_sim.codec import RespError
from tests.artifacts import require_artifact

FEW = Effort(warm_up=12, requests=10)
CHEAP = "higress/cluster_hash/*"

# Targets that are not reached, and the ratio to the Go plugin above which they must not get.
KNOWN_MISSES = {
    "*/cluster_metrics/AdaptiveScore/3": 0.80,
    "*/cluster_metrics/AdaptiveScore/3/all-gateways": 1.50,
}


@pytest.fixture(scope="module")
def dist() -> Path:
    require_artifact("envoy")
    return require_artifact("higress").parent


@pytest.fixture(scope="module")
def measured(dist: Path) -> dict[str, Cost]:
    """Every case."""
    return {cost.name: cost for cost in costs(effort=FEW, dist=dist)}


def known_ratio(name: str) -> float:
    return next((ratio for pattern, ratio in KNOWN_MISSES.items() if fnmatchcase(name, pattern)), 0.0)


def test_every_cost_is_within_its_budget(measured: dict[str, Cost]):
    missed = {name: cost.misses for name, cost in measured.items() if (cost.ratio or 1) > known_ratio(name)}
    assert {name: misses for name, misses in missed.items() if misses} == {}


def test_no_chunk_costs_more_than_its_budget(measured: dict[str, Cost]):
    chunks = {name: cost.chunk for name, cost in measured.items() if cost.chunk is not None}
    assert len(chunks) == len(list(cases()))
    assert {name: chunk for name, chunk in chunks.items() if not 0 < chunk <= CHUNK_LIMIT} == {}


def test_all_that_is_measured_is_listed(measured: dict[str, Cost]):
    assert list(measured) == case_names()
    assert len(set(case_names())) == len(case_names())


def test_every_policy_is_measured():
    assert {case.policy for case in cases()} == set(POLICIES)
    on_envoy = {case.policy for case in cases() if case.target == "envoy"}
    assert on_envoy == {"global_least_request", "cluster_metrics", "cluster_hash"}


def test_the_parts_are_the_whole(measured: dict[str, Cost]):
    cost = measured["higress/prefix_cache/1KB/3"]
    assert sum(cost.callbacks.values()) == pytest.approx(cost.instructions, rel=0.01)
    assert cost.tick
    assert "proxy_on_tick" not in cost.callbacks
    assert max(cost.callbacks, key=cost.callbacks.__getitem__) == "proxy_on_request_body"
    assert cost.most is not None
    assert cost.first is not None
    assert cost.instructions <= cost.most < cost.first


def test_a_changed_text_costs_more(measured: dict[str, Cost]):
    name = "higress/endpoint_metrics/default/16"
    still, changing = measured[name], measured[f"{name}/one-in-ten-changes"]
    assert still.most is not None
    assert changing.most is not None
    assert changing.instructions > still.instructions
    assert changing.most > 2 * still.most


def test_two_runs_are_equal(dist: Path):
    patterns = (
        "higress/prefix_cache/1KB/3",
        "envoy/*/1KB/3",
        "envoy/cluster_metrics/*/3",
        "higress/*/3/one-in-ten-changes",
    )
    first, second = (list(costs(patterns, FEW, dist)) for _ in range(2))
    assert len(first) == 7
    assert first == second


def test_patterns_choose_cases(dist: Path):
    chosen = [cost.name for cost in costs([CHEAP, "envoy/cluster_hash/3"], FEW, dist)]
    assert chosen == ["higress/cluster_hash/3", "higress/cluster_hash/16", "envoy/cluster_hash/3"]


@pytest.mark.parametrize(
    ("instructions", "chunk", "misses"),
    [(100, None, 0), (101, None, 1), (100, CHUNK_LIMIT, 0), (100, CHUNK_LIMIT + 1, 1), (101, CHUNK_LIMIT + 1, 2)],
)
def test_a_cost_above_its_budget_is_seen(instructions: int, chunk: int | None, misses: int):
    cost = Cost(name="x", instructions=instructions, chunk=chunk, go=200, limit=100)
    assert len(cost.misses) == misses
    assert cost.ratio == instructions / 200


def test_a_request_that_is_not_routed_is_no_measurement(dist: Path):
    case = next(case for case in cases() if case.name == "higress/global_least_request/1KB/3")
    broken = dataclasses.replace(case, reply=lambda command: RespError("ERR no"))
    with pytest.raises(RuntimeError, match="not routed as it should be"):
        measure(broken, FEW, guest_factory(artifact("higress", dist), fuel=True))


class TestCommand:
    @pytest.fixture
    def fake_costs(self, monkeypatch: pytest.MonkeyPatch) -> list[Cost]:
        found: list[Cost] = []
        monkeypatch.setattr(bench.cost.command, "costs", lambda patterns, dist: iter(found))
        return found

    def run(self, *arguments: object):
        return CliRunner().invoke(ailb, ["bench", "cost", *map(str, arguments)])

    def test_cases_of_the_real_filter(self, dist: Path):
        result = self.run("--dist", dist, "--case", "higress/cluster_hash/3")
        assert result.exit_code == 0, result.output
        assert [line.split()[0] for line in result.stdout.splitlines()] == ["case", "higress/cluster_hash/3"]

    def test_a_missed_budget_is_said_and_fails(self, fake_costs: list[Cost], tmp_path: Path):
        fake_costs += [Cost(name="a", instructions=70, go=100, limit=60), Cost(name="b", instructions=1, limit=1)]
        result = self.run("--dist", tmp_path)
        assert result.exit_code == 1
        assert result.stderr == "missed: a: 70 instructions, the budget is 60\n"
        assert result.stdout.splitlines()[1].split() == ["a", "70", "100", "0.700", "0.60"]

    def test_json_and_markdown(self, fake_costs: list[Cost], tmp_path: Path):
        fake_costs += [Cost(name="a", instructions=50, go=100, limit=60, callbacks={"proxy_on_done": 50})]
        result = self.run("--dist", tmp_path, "--json")
        [found] = json.loads(result.stdout)
        assert (found["ratio"], found["misses"], found["callbacks"]) == (0.5, [], {"proxy_on_done": 50})
        assert self.run("--dist", tmp_path, "--markdown").stdout.splitlines()[2].startswith("| `a` | 50 |")

    def test_no_such_case(self, fake_costs: list[Cost], tmp_path: Path):
        result = self.run("--dist", tmp_path, "--case", "x*")
        assert (result.exit_code, result.stderr) == (1, "Error: no case is like x*\n")

    def test_a_missing_module(self, tmp_path: Path):
        result = self.run("--dist", tmp_path, "--case", CHEAP)
        assert result.exit_code == 1
        assert "./build.sh" in result.stderr

    def test_outside_a_checkout(self, monkeypatch: pytest.MonkeyPatch):
        for module in ("bench", "bench.__main__"):
            monkeypatch.setitem(sys.modules, module, None)
        result = self.run()
        assert result.exit_code == 1
        assert "run this in a checkout" in result.stderr


@pytest.mark.parametrize("make", [chat, escaped_chat])
@pytest.mark.parametrize("shape", [KB_1, KB_16, KB_128])
def test_a_chat_has_its_shape(make, shape: Shape):
    body = make(shape, 3)
    messages = json.loads(body)["messages"]
    assert len(messages) == shape.messages
    assert [message["role"] for message in messages][:3] == ["system", "user", "assistant"]
    assert shape.size <= len(body) < shape.size * 1.05
    assert body == make(shape, 3) != make(shape, 4)


def test_chats_are_partly_and_wholly_not_ascii():
    share = mean(byte > 127 for byte in chat(KB_128, 0))
    assert 0.1 < share < 0.2
    texts = "".join(message["content"] for message in json.loads(escaped_chat(KB_16, 0))["messages"])
    assert min(texts) > "\x7f"
    assert escaped_chat(KB_16, 0).isascii()


def test_the_document_names_every_case():
    document = (Path(__file__).parents[2] / "docs" / "cost.md").read_text()
    assert [name for name in case_names() if f"`{name}`" not in document] == []
