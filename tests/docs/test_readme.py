"""What the README shows is what works."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from host_sim import LoadError, SteppedSimulator
from host_sim.testing.envoy_process import validate
from tests.envoy.binaries import NEWEST, require_envoy

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
EXAMPLES = ROOT / "docs" / "examples"


@pytest.fixture
def examples_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_example_filter_is_the_one_shown() -> None:
    assert (EXAMPLES / "greeting.py").read_text() in code_blocks("python")


@pytest.mark.usefixtures("examples_on_path")
def test_the_simulator_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    [example] = [block for block in code_blocks("python") if "SteppedSimulator" in block]
    native_only = example.replace(', "dist/greeting.wasm")', ",)")
    assert native_only != example
    exec(native_only, {})
    assert capsys.readouterr().out == "ann\n"


@pytest.mark.usefixtures("examples_on_path")
def test_the_example_filter_refuses_strangers() -> None:
    sim = SteppedSimulator("greeting:GreetingPlugin", "envoy", {"users": {}}, clusters={"web": ["10.0.0.1:80"]})
    stream = sim.open_stream()
    stream.request_headers({":method": "GET", ":path": "/", ":authority": "web", "x-api-key": "k1"})
    assert sim.observe(stream).status == 401
    sim.finish()


def test_envoy_takes_the_example_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # the module's path in it is relative
    config = yaml.safe_load((EXAMPLES / "envoy.yaml").read_text())
    assert validate(require_envoy(NEWEST), config, tmp_path) is None


def test_the_log_line_shown_is_what_the_filter_says() -> None:
    [line] = [line for line in README.splitlines() if line.startswith("[ai-load-balancer]")]
    mistaken = {"serviceFQDN": "redis.static", "servicePort": "redis"}
    with pytest.raises(LoadError) as caught:
        SteppedSimulator(
            "ai_load_balancer.plugin:AiLoadBalancer",
            "higress",
            {"lb_policy": "global_least_request", "lb_config": mistaken},
        )
    assert line in str(caught.value)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((docs/[^)]+)\)", README))))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).is_file()


def test_every_command_is_one_of_build_sh() -> None:
    usage = subprocess.run([ROOT / "build.sh", "help"], capture_output=True, text=True, check=True).stdout
    for command in set(re.findall(r"\./build\.sh (\w+)", README)):
        assert f"  {command} " in usage
