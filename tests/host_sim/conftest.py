from collections.abc import Callable
from pathlib import Path

import pytest

from host_sim.compiled_cache import CompiledCache
from host_sim.wasm_guest import WasmFactory
from tests.host_sim.guests import PREAMBLE, wat


@pytest.fixture
def wasm(tmp_path: Path) -> Callable[..., WasmFactory]:
    """Makes a factory of WAT, with a cache of its own."""

    def make(body: str, preamble: str = PREAMBLE, fuel: bool = False) -> WasmFactory:
        return WasmFactory(wat(body, preamble), fuel=fuel, cache=CompiledCache(tmp_path / "cache"))

    return make
