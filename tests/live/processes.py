"""`ailb` as a process."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STOP_TIMEOUT_S = 20.0


def environment() -> dict[str, str]:
    paths = [str(ROOT / "abi"), str(ROOT / "filter"), str(ROOT)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


class Ailb:
    """A running one; what it says is read line by line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def until(self, text: str) -> str:
        """The next line with `text` in it; AssertionError if it ends before."""
        assert self.process.stderr is not None
        said = ""
        for line in self.process.stderr:
            if text in line:
                return line
            said += line
        raise AssertionError(f"it ended without saying {text!r}:\n{said}")


@contextmanager
def ailb(arguments: Sequence[str]) -> Iterator[Ailb]:
    command = [sys.executable, "-m", "host_sim.cli", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        yield Ailb(process)
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise


def run_ailb(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "host_sim.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60)
