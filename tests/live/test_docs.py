"""docs/serve.md: its commands are run as they stand there, on other ports; its table has every key."""

import re
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack

import pytest

from host_sim.embedded_redis import free_port
from host_sim.live import load_config
from tests.artifacts import require_artifact
from tests.live.processes import ROOT, ailb, environment

PAGE = (ROOT / "docs" / "serve.md").read_text()
CONFIG_CODE = (ROOT / "host_sim" / "live" / "config.py").read_text()
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()]
EXAMPLE = "docs/examples/gateway.yaml"
PORTS = ("8080", "9901", "8001", "8002", "8003")
READY = {"model-server": "127.0.0.1:{8003}", "serve": "page on"}


def test_the_commands_work(tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("no curl on PATH: the commands of docs/serve.md are not run")
    require_artifact("higress")
    ports = {port: str(free_port()) for port in PORTS}

    def moved(text):
        return re.sub(r"\b(8080|9901|800[123])\b", lambda found: ports[found[0]], text)

    example = tmp_path / "gateway.yaml"
    example.write_text(moved((ROOT / EXAMPLE).read_text()).replace("../../dist", str(ROOT / "dist")))
    outputs = []
    with ExitStack() as stack:
        for command in COMMANDS:
            words = shlex.split(moved(command).replace(EXAMPLE, str(example)))
            if words[0] == "ailb":
                ready = READY[words[1]].replace("{8003}", ports["8003"])
                stack.enter_context(ailb(words[1:])).until(ready)
            else:
                words[0] = sys.executable if words[0] == "python" else words[0]
                ended = subprocess.run(
                    words, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=True
                )
                outputs.append(ended.stdout)
    whole, streamed, words_of_client = outputs
    assert '"content": "word0 word1 word2 "' in whole
    assert streamed.endswith("data: [DONE]\n\n")
    assert words_of_client == "word0 word1 word2 word3 word4 word5 word6 word7 \n"


def test_the_example_is_good_where_it_is():
    require_artifact("higress")
    assert [str(load_config(ROOT / EXAMPLE).listen)] == ["127.0.0.1:8080"]


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)]+)\)", PAGE))
def test_links_lead_somewhere(link):
    assert (ROOT / "docs" / link).is_file()


@pytest.mark.parametrize("key", sorted(set(re.findall(r'(?:section|top)\.\w+\("(\w+)"', CONFIG_CODE))))
def test_every_key_is_explained(key):
    assert re.search(rf"`(?:\w+\.)?{key}[`:.]", PAGE)
