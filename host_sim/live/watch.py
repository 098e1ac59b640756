"""Tells when one of some files has changed, by looking at them."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

INTERVAL_S = 0.3

Stamp: TypeAlias = tuple[tuple[str, int, int], ...]


def stamp(files: Iterable[Path]) -> Stamp:
    """Changes when a file is written, replaced, removed or made."""
    return tuple((str(file), *_times(file)) for file in files)


def _times(file: Path) -> tuple[int, int]:
    try:
        about = file.stat()
    except OSError:
        return 0, -1
    return about.st_mtime_ns, about.st_size


async def change(files: Iterable[Path], seen: Stamp) -> Stamp:
    """The new stamp, once it is not `seen` and has stayed the same for one interval: what is written is whole then."""
    files = tuple(files)
    before = seen
    while True:
        now = stamp(files)
        if now == before and now != seen:
            return now
        before = now
        await asyncio.sleep(INTERVAL_S)
