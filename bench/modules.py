"""The modules that are measured: the artifacts in dist/, and the plugins of this folder, built when they are needed."""

from pathlib import Path

from proxywasm_build.build import Request
from proxywasm_build.cache import cached_build
from proxywasm_build.targets import HIGRESS

_HERE = Path(__file__).resolve().parent
DIST = _HERE.parent / "dist"


def artifact(target: str, dist: Path = DIST) -> Path:
    """The module for a target in the folder `dist`. Raises FileNotFoundError with what to do."""
    path = dist / f"ai-load-balancer.{target}.wasm"
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is missing; `./build.sh` makes it")
    return path


def plugin(name: str) -> Path:
    """The module of plugins/<name>.py, whose plugin class is <Name>, for Higress."""
    return cached_build(
        Request(f"{name}:{name.capitalize()}", HIGRESS, (_HERE / "plugins",)), _HERE.parent / "build" / "bench"
    )
