"""Runs componentize-py over a clean copy of the sources, in an environment that nothing of the user's leaks into."""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

from .errors import BuildError
from .sources import WIT

VERSION = "0.25.1"
_TIMEOUT_S = 300
_ERROR_LINES_MAX = 60


def componentize(sources: Path, workspace: Path) -> bytes:
    """The component made of `sources`. `workspace` is an empty folder for files in between. Raises BuildError."""
    _check_version()
    wit = workspace / "wit"
    wit.mkdir()
    (wit / "plugin.wit").write_text(WIT)
    output = workspace / "component.wasm"
    # componentize-py also mounts the site-packages of $VIRTUAL_ENV, and without one looks for another: a bare one.
    site_packages = workspace / "venv" / "lib" / "python3" / "site-packages"
    site_packages.mkdir(parents=True)
    command = [sys.executable, "-c", "import componentize_py; componentize_py.script()"]
    command += [
        "-d",
        str(wit),
        "-w",
        "plugin",
        "componentize",
        "-p",
        str(sources),
        "-o",
        str(output),
        "proxywasm_entry",
    ]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PIPENV"))}
    environment |= {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "VIRTUAL_ENV": str(workspace / "venv"),
        "RUST_BACKTRACE": "0",
    }
    try:
        done = subprocess.run(
            command, cwd=workspace, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"componentize-py did not end within {_TIMEOUT_S} s; does the plugin's import end?") from error
    if done.returncode != 0 or not output.is_file():
        raise BuildError(_explain(done.stdout + done.stderr))
    return output.read_bytes()


def _check_version() -> None:
    try:
        found = importlib.metadata.version("componentize-py")
    except importlib.metadata.PackageNotFoundError:
        found = "none"
    if found != VERSION:
        raise BuildError(
            f"componentize-py {VERSION} was expected, found {found}; pip install componentize-py=={VERSION}"
        )


def _explain(output: str) -> str:
    """What the guest said when the plugin could not be imported: its traceback, without our frames and the tool's."""
    guest = output.partition("AssertionError: ")[2].partition("\nCaused by:")[0] or output
    lines = _OUR_FRAMES.sub("", guest).replace('"/0/', '"').splitlines()
    return "\n".join(["the plugin does not import in the guest:", *filter(str.strip, lines[-_ERROR_LINES_MAX:])])


# Frames of the entry module and of importlib, each with its source lines, which are indented deeper.
_OUR_FRAMES = re.compile(
    r'^  File "(?:/0/proxywasm_entry\.py|/python/importlib/\S*|<frozen importlib\S*>)".*\n(?:    .*\n)*', re.MULTILINE
)
