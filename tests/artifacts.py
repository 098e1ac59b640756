"""The modules in dist/, for the tests that need the real ones."""

from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parents[1]


def require_artifact(target: str) -> Path:
    """The module built for `target`; a missing one is a failure."""
    module = _REPOSITORY / "dist" / f"ai-load-balancer.{target}.wasm"
    if not module.is_file():
        pytest.fail(f"{module.relative_to(_REPOSITORY)} is missing; `./build.sh` makes it")
    return module
