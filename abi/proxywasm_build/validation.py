"""Validation of a module by wasmtime, with the features off that some gateway lacks."""

import wasmtime

from .errors import BuildError


def validate(module: bytes) -> None:
    """Raises BuildError if the module is not valid. (Reference types cannot be switched off; inspection sees them.)"""
    config = wasmtime.Config()
    config.wasm_simd = False
    config.wasm_relaxed_simd = False
    config.wasm_multi_value = False
    config.wasm_multi_memory = False
    config.wasm_tail_call = False
    config.wasm_memory64 = False
    config.wasm_threads = False
    config.wasm_bulk_memory = True
    try:
        wasmtime.Module.validate(wasmtime.Engine(config), module)
    except wasmtime.WasmtimeError as error:
        raise BuildError(f"the linked module is not valid: {error}; this is a defect of the build tool") from error
