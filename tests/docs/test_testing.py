"""The pytest plugin, as docs/testing.md shows it: in a pytest of its own, as a filter's author runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
OPTIONS = ("-o", f"cache_dir={ROOT / 'build' / 'docs-cache'}", "--durations=5")
TIMEOUT_S = 300


def run_pytest(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Without this repository's settings."""
    path = os.pathsep.join(str(ROOT / folder) for folder in ("abi", "filter", "."))
    settings = ("-p", "host_sim.pytest_plugin", "-c", os.devnull, "--rootdir", EXAMPLES, *OPTIONS)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *map(str, settings), *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def test_the_example_passes_on_every_host() -> None:
    result = run_pytest(EXAMPLES / "test_api_key.py")
    assert re.search(r"\b13 passed\b", result.stdout), result.stdout + result.stderr


FAILING = """
import pytest

pytestmark = [pytest.mark.plugin("api_key:ApiKey", python_path=[{folder!r}], config={{"k1": "alice"}})]


@pytest.mark.hosts("native")
def test_whole(host):
    assert host.request("GET", "/", {{"x-api-key": "k1"}}).status == 500


@pytest.mark.hosts("native")
def test_stepped(stepped):
    stream = stepped.open_stream()
    stream.request_headers({{":method": "GET", ":path": "/", "x-api-key": "k1"}})
    raise ValueError("on purpose")
"""


def test_a_failed_test_shows_the_host_calls(tmp_path: Path) -> None:
    test = tmp_path / "test_failing.py"
    test.write_text(FAILING.format(folder=str(EXAMPLES)))
    result = run_pytest(test)
    assert "2 failed" in result.stdout, result.stdout + result.stderr
    trace = "proxy_replace_header_map_value(0, b'x-owner', b'alice') -> None"
    assert result.stdout.count(trace) == 2, result.stdout


def test_an_unknown_host_is_told(tmp_path: Path) -> None:
    test = tmp_path / "test_nowhere.py"
    test.write_text("import pytest\n\n@pytest.mark.hosts('nowhere')\ndef test_nowhere(host): pass\n")
    result = run_pytest(test)
    assert "hosts('nowhere',): expected some of native, wasm, envoy" in result.stdout + result.stderr


def test_the_document_shows_the_files_that_run() -> None:
    text = (ROOT / "docs" / "testing.md").read_text()
    for name in ("api_key.py", "test_api_key.py"):
        assert (EXAMPLES / name).read_text() in text, f"docs/testing.md does not hold docs/examples/{name} as it is"
