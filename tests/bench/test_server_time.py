"""The times of a Redis server: what is measured, not how fast a machine is."""

import json
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from bench.server_time import FEW, ServerTime, cases, server_times
from bench.server_time.captured import Source
from host_sim.cli import main as ailb
from host_sim.embedded_redis import EmbeddedRedis


@pytest.fixture(scope="module")
def client():
    with EmbeddedRedis() as server:
        if server.kind == "fakeredis":
            pytest.fail("a real Redis server is needed: commandstats are its own")
        client = server.client()
        yield client
        client.close()


def test_every_case_is_measured(client: "redis.Redis"):
    measured = list(server_times(client, effort=FEW))
    assert [time.name for time in measured] == [case.name for case in cases()]
    assert all(time.us > 0 for time in measured)


def test_patterns_choose_cases(client: "redis.Redis"):
    assert [time.name for time in server_times(client, ["*/53/*"], FEW)] == [
        "prefix_acquire/53/all-known",
        "prefix_acquire/53/all-new",
    ]


def test_new_prompts_write_their_blocks_and_known_ones_find_them(client: "redis.Redis"):
    for kind, blocks in (("all-new", 9 * (16 * 4 + FEW.leases)), ("all-known", 9)):
        list(server_times(client, [f"prefix_acquire/9/{kind}"], FEW))
        assert len(list(client.scan_iter(_type="string"))) == blocks


def test_a_script_that_takes_no_lease_is_no_measurement(client: "redis.Redis", monkeypatch: pytest.MonkeyPatch):
    taken_back = Source.leases
    monkeypatch.setattr(
        Source, "leases", lambda self, number: [lease._replace(acquire=lease.release) for lease in taken_back(self, 3)]
    )
    with pytest.raises(RuntimeError, match="refused"):
        list(server_times(client, ["acquire+release/3"], FEW))


def test_the_ratio():
    assert ServerTime("x", 5.0, 20.0).ratio == 0.25
    assert ServerTime("x", 5.0, None).ratio is None


def test_the_command():
    result = CliRunner().invoke(ailb, ["bench", "redis", "--json", "--case", "acquire+release/3"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [time["name"] for time in found["times"]] == ["acquire+release/3"]
    assert found["times"][0]["go_us"] == 21


def test_the_document_names_every_case():
    document = (Path(__file__).parents[2] / "docs" / "cost.md").read_text()
    assert [case.name for case in cases() if f"`{case.name}`" not in document] == []
