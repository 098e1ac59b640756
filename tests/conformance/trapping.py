"""A plugin in WAT that traps at a request with the header x-trap: what Python plugins are built never to do."""

from pathlib import Path

from wasmtime import wat2wasm

from host_sim.gateway import FailurePolicy

POLICIES: tuple[FailurePolicy, ...] = ("FAIL_CLOSED", "FAIL_OPEN", "FAIL_RELOAD")

MODULE = """
(module
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "x-trap")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) i32.const 1024)
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (if (i32.eqz (call $get (i32.const 0) (i32.const 16) (i32.const 6) (i32.const 32) (i32.const 36)))
      (then unreachable))
    i32.const 0))
"""


def trapping_module(directory: Path) -> Path:
    path = directory / "trapping.wasm"
    path.write_bytes(wat2wasm(MODULE))
    return path
