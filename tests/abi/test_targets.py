"""The build tool's tables of the ABI against the simulator's: two readings of one text must agree."""

import pytest
from proxywasm_build.targets import ALLOCATORS, CALLBACKS, PORTABLE_WASI, TARGETS
from proxywasm_build.wasm.module import VALUE_TYPES, FuncType

from host_sim import abi


def names(types: bytes) -> list[str]:
    return [VALUE_TYPES[value_type] for value_type in types]


@pytest.mark.parametrize("target", abi.TARGETS)
def test_host_calls(target: abi.Target):
    offered = TARGETS[target].env
    expected = abi.host_calls(target)
    assert set(offered) == set(expected)
    for name, signature in expected.items():
        assert names(offered[name].params) == abi.parameter_types(signature), name
        assert names(offered[name].results) == ["i32"], name


def test_callbacks():
    assert {
        name: FuncType(b"\x7f" * params, b"\x7f" * results) for name, (params, results) in abi.CALLBACKS.items()
    } == {**CALLBACKS, **ALLOCATORS}


def test_the_portable_part_of_wasi():
    from host_sim.wasi import WASI_FUNCTIONS

    assert set(PORTABLE_WASI) == set(WASI_FUNCTIONS)
    assert len(PORTABLE_WASI) == 18


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_markers_are_known_to_the_host(target):
    assert set(target.abi_markers) <= set(abi.ABI_MARKERS[target.name])
