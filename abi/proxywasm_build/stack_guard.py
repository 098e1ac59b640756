"""Making deep recursion raise RecursionError instead of ending the VM.

CPython 3.14 watches the shadow stack, which lies in linear memory and has 1 MiB. But the host's own stack for wasm
frames ends first (0.95 MiB in V8), and an overflow there is a trap. So each C function that recursion passes through
gets a wrapper that takes some more of the shadow stack for as long as it runs: then the shadow stack ends first.
"""

import re

from .errors import BuildError
from .functions import Code, Function, StackPointer, Synthetic
from .program import Program
from .prune import LIBPYTHON
from .static_data import StaticData
from .wasm import assembler as asm

# Bytes of shadow stack per level. Measured: see tests/abi/test_stack_guard.py.
CHARGE = 512

# CPython itself does not watch these; their wrappers do, and return this when the stack is used up.
_UNWATCHED = {"PyObject_Hash": -1}

_RECURSIVE = re.compile(
    r"_PyEval_EvalFrameDefault|_PyEval_Vector|_PyFunction_Vectorcall"
    r"|_PyObject_MakeTpCall|_PyObject_Call|PyObject_Call|_PyObject_Call_Prepend|PyObject_Vectorcall"
    r"|PyObject_Repr|PyObject_Str|PyObject_Format|PyObject_ASCII"
    r"|PyObject_RichCompare|PyObject_GetAttr|PyObject_IsInstance|PyObject_IsSubclass|object_isinstance"
    r"|abstract_issubclass|object_recursive_isinstance|_PyObject_GenericGetAttrWithDict|PyObject_GetIter"
    r"|slot_tp_\w+|_Py_slot_tp_getattr_hook|call_attribute|vectorcall_method|lookup_\w+"
    r"|_Py_Dealloc|subtype_dealloc|list_dealloc|tuple_dealloc|dict_dealloc|_PyTuple_\w*dealloc|frame_dealloc|gen_dealloc"
    r"|list_sort_impl|list_richcompare|tuple_richcompare|dict_richcompare|list_repr|tuple_repr|dict_repr|set_repr"
    r"|scan_once_unicode|_parse_object_unicode|_parse_array_unicode"
    r"|encoder_listencode_\w+|r_object|w_object|w_complex_object|visit_decref"
    r"|validate_\w+|astfold_\w+|compiler_visit_\w+|codegen_visit_\w+|symtable_visit_\w+|ast2obj_\w+"
)


def wrappers(program: Program, data: StaticData, charge: int = CHARGE) -> dict[Function, Synthetic]:
    """A wrapper for each recursive function of CPython. Raises BuildError if none is found."""
    library = program.library(LIBPYTHON)
    found: dict[Function, Synthetic] = {}
    for index, name in program.function_names(library).items():
        if _RECURSIVE.fullmatch(name):
            function = Function(library, index)
            found[function] = _wrapper(program, function, f"guard {name} {index}", charge)
    for name, failure in _UNWATCHED.items():
        function = program.exported(library, name)
        enter = program.exported(library, "Py_EnterRecursiveCall")
        where, _ = data.text(f" in {name}\0")
        found[function] = _wrapper(program, function, f"guard {name}", charge, _check(enter, where, failure, charge))
    if not found:
        raise BuildError(f"function names were expected in {LIBPYTHON}; use the pinned componentize-py")
    return found


def _wrapper(program: Program, function: Function, name: str, charge: int, check: Code = ()) -> Synthetic:
    type_ = program.type_of(function)
    arguments = (asm.local_get(index) for index in range(len(type_.params)))
    return Synthetic(name, type_, (*_move_stack(charge, asm.I32_SUB), *check, *arguments, function, *_release(charge)))


def _move_stack(charge: int, operation: bytes) -> Code:
    return StackPointer(), asm.i32_const(charge), operation, StackPointer(set=True)


def _release(charge: int) -> Code:
    return _move_stack(charge, asm.I32_ADD)


def _check(enter: Function, where: int, failure: int, charge: int) -> Code:
    """Returns `failure` if `enter` has raised RecursionError."""
    return asm.i32_const(where), enter, asm.IF, *_release(charge), asm.i32_const(failure), asm.RETURN, asm.END
