from collections.abc import Iterator
from typing import Any

import pytest

from .scripted_host import ScriptedHost, fresh_sdk


@pytest.fixture
def host() -> ScriptedHost:
    return ScriptedHost()


@pytest.fixture
def sdk(host: ScriptedHost) -> Iterator[Any]:
    """A new copy of the SDK, above `host`."""
    with fresh_sdk(host) as sdk:
        yield sdk
