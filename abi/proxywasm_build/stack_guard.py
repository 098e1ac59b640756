"""Making deep recursion raise RecursionError instead of ending the VM.

CPython 3.14 watches the shadow stack, which lies in linear memory and has 1 MiB. But the host's own stack for wasm
frames ends first (0.95 MiB in V8), and an overflow there is a trap. So each C function that recursion passes through
gets a wrapper that takes some more of the shadow stack for as long as it runs: then the shadow stack ends first.
"""

import re

from .errors import BuildError
from .linker import Function, Linker, StackPointer, Synthetic
from .prune import LIBPYTHON
from .wasm import assembler as asm

# Bytes of shadow stack per level. Measured: see tests/abi/test_stack_guard.py.
CHARGE = 512

_RECURSIVE = re.compile(
    r"_PyEval_EvalFrameDefault|_PyEval_Vector|_PyFunction_Vectorcall"
    r"|_PyObject_MakeTpCall|_PyObject_Call|PyObject_Call|_PyObject_Call_Prepend|PyObject_Vectorcall"
    r"|PyObject_Repr|PyObject_Str|PyObject_Format|PyObject_ASCII"
    r"|PyObject_RichCompare|PyObject_Hash|PyObject_GetAttr|PyObject_IsInstance|PyObject_IsSubclass|object_isinstance"
    r"|abstract_issubclass|object_recursive_isinstance|_PyObject_GenericGetAttrWithDict|PyObject_GetIter"
    r"|slot_tp_\w+|_Py_slot_tp_getattr_hook|call_attribute|vectorcall_method|lookup_\w+"
    r"|_Py_Dealloc|subtype_dealloc|list_dealloc|tuple_dealloc|dict_dealloc|_PyTuple_\w*dealloc|frame_dealloc|gen_dealloc"
    r"|list_sort_impl|list_richcompare|tuple_richcompare|dict_richcompare|list_repr|tuple_repr|dict_repr|set_repr"
    r"|scan_once_unicode|_parse_object_unicode|_parse_array_unicode"
    r"|encoder_listencode_\w+|r_object|w_object|w_complex_object|visit_decref"
    r"|validate_\w+|astfold_\w+|compiler_visit_\w+|codegen_visit_\w+|symtable_visit_\w+|ast2obj_\w+"
)


def wrappers(linker: Linker, charge: int = CHARGE) -> dict[Function, Synthetic]:
    """A wrapper for each recursive function of CPython. Raises BuildError if none is found."""
    library = linker.library(LIBPYTHON)
    found: dict[Function, Synthetic] = {}
    for index, name in linker.function_names(library).items():
        if _RECURSIVE.fullmatch(name):
            function = Function(library, index)
            found[function] = _wrapper(linker, function, f"guard {name} {index}", charge)
    if not found:
        raise BuildError(f"function names were expected in {LIBPYTHON}; use the pinned componentize-py")
    return found


def _wrapper(linker: Linker, function: Function, name: str, charge: int) -> Synthetic:
    type_ = linker.type_of(function)
    get, put = StackPointer(), StackPointer(set=True)
    arguments = (asm.local_get(index) for index in range(len(type_.params)))
    return Synthetic(
        name,
        type_,
        (
            *(get, asm.i32_const(charge), asm.I32_SUB, put),
            *(*arguments, function),
            *(get, asm.i32_const(charge), asm.I32_ADD, put),
        ),
    )
