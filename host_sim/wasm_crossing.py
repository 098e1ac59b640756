"""Calls between Python and wasm, in both directions, without the conversions of wasmtime-py.

wasmtime-py asks for a function's type at every call and wraps every value, which costs 12 to 25 us per crossing. The C
API of the same library has "unchecked" forms (wasmtime/func.h: wasmtime_func_call_unchecked; wasmtime/linker.h:
wasmtime_linker_define_func_unchecked) that take parameters and results in one array of wasmtime_val_raw_t, 16 bytes
each, and leave the types to the caller. `wasm_guest` checks the signatures when it loads a module, and only i32 and i64
cross: both lie in the first 8 bytes, so the array is one of int64 of which every second is used.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import wasmtime
from wasmtime import _bindings as c_api
from wasmtime._ffi import dll

_VALUE_WORDS = 2  # of int64 per wasmtime_val_raw_t
_Words = ctypes.POINTER(ctypes.c_int64)
_TrapPointer = ctypes.POINTER(c_api.wasm_trap_t)
_ErrorPointer = ctypes.POINTER(c_api.wasmtime_error_t)
_Callback = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p, _Words, ctypes.c_size_t)

# Prototypes of our own, so that arrays and callbacks pass as they are.
_func_call_unchecked = ctypes.CFUNCTYPE(
    ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p
)(("wasmtime_func_call_unchecked", dll))
_linker_define_func_unchecked = ctypes.CFUNCTYPE(
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.c_size_t,
    ctypes.c_char_p,
    ctypes.c_size_t,
    ctypes.c_void_p,
    _Callback,
    ctypes.c_void_p,
    ctypes.c_void_p,
)(("wasmtime_linker_define_func_unchecked", dll))


class Crossing:
    """Of one store. It must live as long as the store: wasm calls what is defined here."""

    def __init__(self, store: wasmtime.Store) -> None:
        self._store = store
        self._callbacks: list[Any] = []
        self._error: BaseException | None = None  # of a host function, on its way through wasm

    def raise_error(self) -> None:
        """What a host function raised during the call that just trapped."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def define(
        self,
        linker: wasmtime.Linker,
        module: str,
        name: str,
        signature: wasmtime.FuncType,
        body: Callable[..., int | None],
    ) -> None:
        """Make `body` an import.

        It gets an int per parameter, of which an i32 is the lower 32 bits; what it raises comes out of `function`.
        """
        words = len(signature.params) * _VALUE_WORDS
        has_result = bool(signature.results)

        def enter(data: int, caller: int, values: Any, size: int) -> int:
            try:
                result = body(*values[0:words:_VALUE_WORDS])
                if has_result:
                    values[0] = result
            except BaseException as error:
                self._error = error
                pointer = wasmtime.Trap("an exception of the host")._consume()
                return ctypes.cast(pointer, ctypes.c_void_p).value or 0
            return 0

        callback = _Callback(enter)
        self._callbacks.append(callback)
        texts = [item for text in (module.encode(), name.encode()) for item in (text, len(text))]
        error = _linker_define_func_unchecked(linker.ptr(), *texts, signature.ptr(), callback, None, None)
        if error:
            raise wasmtime.WasmtimeError._from_ptr(ctypes.cast(error, _ErrorPointer))

    def function(self, exported: wasmtime.Func) -> Callable[..., int | None]:
        """An export as a Python function: ints in, int or None out.

        Raises wasmtime.Trap, WasmtimeError, or what a host function raised. Of an i32 result the lower
        32 bits count.
        """
        signature = exported.type(self._store)
        parameters = len(signature.params)
        has_result = bool(signature.results)
        size = max(parameters, len(signature.results), 1)
        make_values = ctypes.c_int64 * (size * _VALUE_WORDS)
        handle = exported._func
        function = ctypes.byref(handle)
        context = self._store._context()

        def call(*arguments: int) -> int | None:
            if len(arguments) != parameters:
                raise wasmtime.WasmtimeError(f"{parameters} arguments are expected, there are {len(arguments)}")
            values = make_values()
            at = 0
            for argument in arguments:
                values[at] = argument
                at += _VALUE_WORDS
            trap = _TrapPointer()
            error = _func_call_unchecked(context, function, values, size, ctypes.byref(trap))
            if error or trap:
                self.raise_error()
                if trap:
                    raise wasmtime.Trap._from_ptr(trap)
                raise wasmtime.WasmtimeError._from_ptr(ctypes.cast(error, _ErrorPointer))
            return values[0] if has_result else None

        return call
