"""Compiled modules on disk: a directory of files named by what they were compiled from."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

ENTRIES_MAX = 16  # the least recently used go first
_SUFFIX = ".cwasm"

Module = TypeVar("Module")


def default_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "host_sim"


class CompiledCache:
    def __init__(self, directory: Path | None = None, entries_max: int = ENTRIES_MAX) -> None:
        self.directory = directory if directory is not None else default_directory()
        self.entries_max = entries_max

    def load(self, key: str, load: Callable[[str], Module]) -> Module | None:
        """`load(path)` of the entry; None if there is none or it cannot be used."""
        path = self.directory / (key + _SUFFIX)
        try:
            os.utime(path)
            return load(str(path))
        except FileNotFoundError:
            return None
        except Exception:  # whatever is wrong with a cached file, it is made again
            path.unlink(missing_ok=True)
            return None

    def store(self, key: str, compiled: bytes | bytearray) -> None:
        """A directory that cannot be written is no error: the next load compiles again."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile(dir=self.directory, delete=False) as file:
                file.write(compiled)
            os.replace(file.name, self.directory / (key + _SUFFIX))
            self._evict()
        except OSError:
            pass

    def _evict(self) -> None:
        entries = sorted(self.directory.glob("*" + _SUFFIX), key=lambda path: path.stat().st_mtime_ns)
        for path in entries[: -self.entries_max]:
            path.unlink(missing_ok=True)
