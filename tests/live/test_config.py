"""gateway.yaml: what it means, and what is said about each mistake."""

from pathlib import Path

import pytest
import yaml

from host_sim.live import ConfigError, load_config, parse_config
from host_sim.routes import Route

GOOD = """
listen: 127.0.0.1:8080
plugin:
  native: "my_filter:Filter"
  config: {a: 1}
routes:
- {name: chat, cluster: llm}
clusters:
  llm: {endpoints: ["127.0.0.1:8001"]}
"""


def problems(text: str, path: Path = Path("gateway.yaml")) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, path)
    return [problem.removeprefix("gateway.yaml: ") for problem in caught.value.problems]


def test_what_is_not_said():
    config = parse_config(GOOD, Path("gateway.yaml"))
    assert (str(config.listen), str(config.admin), config.drain_timeout_ms) == (
        "127.0.0.1:8080",
        "127.0.0.1:9901",
        10_000,
    )
    assert (config.plugin.source, config.plugin.target, config.plugin.plugin.configuration) == (
        "my_filter:Filter",
        "higress",
        b'{"a": 1}',
    )
    assert config.routes == (Route("chat", "llm"),)
    assert config.clusters[0].health_check is None


def test_paths_are_relative_to_the_file(tmp_path):
    (tmp_path / "p.wasm").write_bytes(b"")
    (tmp_path / "p.json").write_text('{"b": 2}')
    plugin = "wasm: p.wasm\n  config_file: p.json"
    (tmp_path / "g.yaml").write_text(GOOD.replace('native: "my_filter:Filter"\n  config: {a: 1}', plugin))
    config = load_config(tmp_path / "g.yaml")
    assert config.plugin.source == tmp_path / "p.wasm"
    assert config.plugin.plugin.configuration == b'{"b": 2}'
    assert config.files == (tmp_path / "g.yaml", tmp_path / "p.wasm", tmp_path / "p.json")


MISTAKES = yaml.safe_load((Path(__file__).parent / "mistakes.yaml").read_text())


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake["new"] or mistake["old"])
def test_a_mistake_is_told_with_its_key(mistake):
    assert mistake["old"] in GOOD
    assert mistake["problem"] in problems(GOOD.replace(mistake["old"], mistake["new"], 1))


def test_a_password_is_not_shown():
    [problem] = problems(GOOD + 'redis: {r: "redis://:secret@127.0.0.1:6379"}')
    assert "secret" not in problem
    assert problem.startswith("redis.r: expected no user or password")


def test_all_mistakes_are_told_at_once():
    assert len(problems("listen: 1\nadmin: 2\nplugin: 3\n")) > 4


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a", "expected a mapping, found ['a']"),
        ("a: {b: 1", "gateway.yaml is not YAML"),
        ("listen: 1\nlisten: 2", "the key 'listen' twice"),
        ("", "expected a mapping, found nothing"),
    ],
)
def test_what_is_no_configuration(text, problem):
    assert problem in problems(text)[0]


def test_a_file_that_is_not_there():
    with pytest.raises(ConfigError, match=r"missing\.yaml cannot be read: No such file"):
        load_config(Path("missing.yaml"))


def test_an_empty_cluster_is_allowed():
    config = parse_config(GOOD.replace('["127.0.0.1:8001"]', "[]"), Path("gateway.yaml"))
    assert config.clusters[0].endpoints == ()
