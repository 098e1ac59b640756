"""Cutting function bodies: what wasmtime's assembler writes comes back, piece by piece."""

import pytest
import wasmtime
from proxywasm_build.wasm import code, module
from proxywasm_build.wasm.encoding import Malformed


def assemble(functions: str) -> module.Module:
    return module.parse(bytes(wasmtime.wat2wasm(f"(module (table 8 funcref) (memory 1) {functions})")))


def references(functions: str) -> list[code.Reference]:
    return list(code.scan(assemble(functions).bodies[0]).references())


def test_calls_and_globals_are_found():
    found = references(
        """
        (global $a (mut i32) (i32.const 0)) (global $b i32 (i32.const 7))
        (func (result i32) (global.set $a (i32.const 1000)) (call 1) (i32.add (global.get $b) (i32.const 70000)))
        (func (nop))
        """
    )
    assert found == [(code.GLOBAL_SET, 0, 0), (code.CALL, 1, 0), (code.GLOBAL_GET_PLUS, 1, 70000)]


def test_a_global_without_an_addend():
    found = references("(global $b i32 (i32.const 7)) (func (result i32) (i32.sub (global.get $b) (i32.const 1)))")
    assert found == [(code.GLOBAL_GET, 0, 0)]


def test_indirect_calls_name_their_type():
    found = references("(type $t (func (param i64))) (func (call_indirect (type $t) (i64.const 1) (i32.const 3)))")
    assert found == [(code.CALL_INDIRECT, 0, 0)]


def test_immediates_that_look_like_opcodes_are_skipped():
    """16 is call, 35 global.get, 65 i32.const: here they are numbers, labels and floating point bytes."""
    found = references(
        """
        (func (local i32 i64 f64)
          (local.set 0 (i32.const 16)) (local.set 1 (i64.const 0x1023411023))
          (local.set 2 (f64.const 0x1.0102310411023p+3))
          (block (block (br_table 0 1 0 1 0 (i32.const 35))))
          (i32.store offset=4112 (i32.const 16) (i32.load8_u offset=35 (i32.const 35)))
          (memory.fill (i32.const 16) (i32.const 35) (i32.const 65))
          (memory.copy (i32.const 16) (i32.const 35) (i32.const 65))
          (local.set 0 (i32.trunc_sat_f64_s (local.get 2))) (local.set 0 (i32.extend8_s (local.get 0)))
          (call 1))
        (func)
        """
    )
    assert found == [(code.CALL, 1, 0)]


def test_a_body_is_its_pieces():
    functions = "(func (local i32) (call 1) (if (i32.const 1) (then (call 1)) (else (call 0))))(func)"
    body = assemble(functions).bodies[0]
    cut = code.scan(body)
    rebuilt = [piece if isinstance(piece, bytes) else bytes([0x10, piece.operand]) for piece in cut.pieces]
    assert cut.locals + b"".join(rebuilt) == body


@pytest.mark.parametrize(
    ("instructions", "features"),
    [
        ("(drop (i32.add (i32.const 1) (i32.const 2)))", set()),
        ("(drop (i32.extend8_s (i32.const 1)))", {"sign_ext"}),
        ("(drop (i64.trunc_sat_f32_u (f32.const 1)))", {"nontrapping_fptoint"}),
        ("(memory.fill (i32.const 0) (i32.const 0) (i32.const 0))", {"bulk_memory"}),
        ("(drop (ref.is_null (ref.func 0)))", {"reference_types"}),
        ("(block (result i32 i32) (i32.const 1) (i32.const 2)) (drop) (drop)", {"multi_value"}),
    ],
)
def test_features_are_told_apart(instructions: str, features: set[str]):
    # Each hidden behind a br_table and a function that needs nothing.
    functions = f'(func $f (export "f")) (func (block (br_table 0 0 (i32.const 16))) {instructions})'
    assert code.features(assemble(functions).bodies) == features


@pytest.mark.parametrize("instruction", ["(drop (v128.const i32x4 1 2 3 4))", "(drop (i32.atomic.load (i32.const 0)))"])
def test_what_is_not_known_is_refused(instruction: str):
    body = assemble(f"(func {instruction})").bodies[0]
    with pytest.raises(Malformed, match="unknown instruction"):
        code.scan(body)
    with pytest.raises(Malformed, match="unknown instruction"):
        code.features([body])
