"""Links a program's modules into one core module.

Since every base address is known, linking is renumbering:

- an import becomes the function, or the constant, that it resolves to;
- a global that no code sets becomes its value (only the stack pointers are left as globals);
- functions that nothing reaches, from the exports or from the table, are dropped.

What differs from plain linking comes in a Plan.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .component import Lowered, ResourceDrop
from .errors import BuildError
from .functions import Callable_, Function, HostImport, StackPointer, Synthetic
from .program import PAGE, GlobalId, Program
from .wasm import code, emit
from .wasm.encoding import s32, u32
from .wasm.module import FUNC_KIND, GLOBAL_KIND, MEMORY_KIND, FuncType


@dataclass(slots=True)
class Plan:
    """What a link is to make beyond the plain merge."""

    exports: dict[str, Callable_] = field(default_factory=dict)
    replacements: dict[Function, Callable_] = field(default_factory=dict)
    lowered: Callable[[Lowered, FuncType], Callable_] = field(default=lambda definition, type_: _refuse(definition))
    drop_handle: Callable_ | None = None
    wrappers: dict[Function, Synthetic] = field(default_factory=dict)
    keep_names: bool = False


def _refuse(definition: Lowered) -> Callable_:
    raise BuildError(f"nothing stands in for {definition.interface} {definition.name}")


def link(program: Program, plan: Plan) -> bytes:
    """The core module. The same program and plan give the same bytes."""
    return _Link(program, plan).run()


class _Link:
    def __init__(self, program: Program, plan: Plan) -> None:
        self.program = program
        self.plan = plan
        self._targets: dict[Function, Callable_] = {}
        self._function_index: dict[Callable_, int] = {}
        self._type_index: dict[FuncType, int] = {}
        self._global_index: dict[GlobalId, int] = {}

    def run(self) -> bytes:
        program = self.program
        reached = self._reach()
        slots = [None if slot is None else self.target(slot) for slot in program.table]
        host = sorted((f for f in reached if isinstance(f, HostImport)), key=lambda f: (f.module, f.name))
        own = sorted(f for f in reached if isinstance(f, Function))
        made = sorted((f for f in reached if isinstance(f, Synthetic)), key=lambda f: f.name)
        order: list[Callable_] = [*host, *own, *made]
        self._function_index = {function: index for index, function in enumerate(order)}
        types = [self._type(program.type_of(function)) for function in order]
        kept = self._set_globals(own)
        self._global_index = {key: index for index, key in enumerate(kept)}
        bodies = [self._emit(f) for f in own] + [self._emit_synthetic(f) for f in made]  # adds types
        sections = [
            emit.types(list(self._type_index)),
            emit.imported_functions((f.module, f.name, type_) for f, type_ in zip(host, types, strict=False)),
            emit.functions(types[len(host) :]),
            emit.table(len(slots)),
            emit.memory(len(program.memory) // PAGE),
            emit.mutable_i32_globals(program.global_value(*key) for key in kept),
            emit.exports(
                [("memory", MEMORY_KIND, 0)]
                + [(name, FUNC_KIND, self._function_index[self.target(f)]) for name, f in self.plan.exports.items()]
            ),
            emit.elements([None if slot is None else self._function_index[slot] for slot in slots]),
            emit.code(bodies),
            emit.data(bytes(program.memory)),
        ]
        if self.plan.keep_names:
            sections.append(emit.function_names((i, self._name(f)) for f, i in self._function_index.items()))
        return emit.module(sections)

    def target(self, function: Callable_) -> Callable_:
        """What a reference to a function means in the result: resolved, replaced and wrapped."""
        if not isinstance(function, Function):
            return function
        if function not in self._targets:
            self._targets[function] = self._target(function)
        return self._targets[function]

    def _target(self, function: Function) -> Callable_:
        definition = self.program.definition(function)
        if isinstance(definition, Lowered):
            return self.plan.lowered(definition, self.program.type_of(function))
        if isinstance(definition, ResourceDrop):
            assert self.plan.drop_handle is not None
            return self.plan.drop_handle
        if definition in self.plan.replacements:
            return self.plan.replacements[definition]
        return self.plan.wrappers.get(definition, definition)

    def _reach(self) -> set[Callable_]:
        reached: set[Callable_] = set()
        waiting = [self.target(f) for f in [*self.plan.exports.values(), *filter(None, self.program.table)]]
        while waiting:
            function = waiting.pop()
            if function in reached:
                continue
            reached.add(function)
            if isinstance(function, Synthetic):  # its calls are meant as written: a wrapper calls what it wraps
                waiting += [part for part in function.code if isinstance(part, Callable_)]
            elif isinstance(function, Function):
                waiting += [
                    self.target(Function(function.instance, reference.operand))
                    for reference in self.program.body(function).references()
                    if reference.kind in (code.CALL, code.REF_FUNC)
                ]
        return reached

    def _set_globals(self, functions: Iterable[Function]) -> list[tuple[int, int]]:
        return sorted(
            {
                self.program.global_id(function.instance, reference.operand)
                for function in functions
                for reference in self.program.body(function).references()
                if reference.kind == code.GLOBAL_SET
            }
        )

    def _stack_pointer(self) -> int:
        kind, index = self.program.modules[self.program.main].exports["__stack_pointer"]
        assert kind == GLOBAL_KIND
        return self._global_index[self.program.global_id(self.program.main, index)]

    def _type(self, type_: FuncType) -> int:
        return self._type_index.setdefault(type_, len(self._type_index))

    def _name(self, function: Callable_) -> str:
        if not isinstance(function, Function):
            return function.name
        names = self.program.function_names(function.instance)
        return names.get(function.index, f"function_{function.instance}_{function.index}")

    def _emit(self, function: Function) -> bytes:
        body, instance = self.program.body(function), function.instance
        out = [body.locals]
        for piece in body.pieces:
            out.append(piece if isinstance(piece, bytes) else self._encode(instance, piece))
        return b"".join(out)

    def _emit_synthetic(self, function: Synthetic) -> bytes:
        out = [b"\x01" + u32(function.i32_locals) + b"\x7f" if function.i32_locals else b"\x00"]
        for part in function.code:
            if isinstance(part, StackPointer):
                out.append((b"\x24" if part.set else b"\x23") + u32(self._stack_pointer()))
            elif isinstance(part, bytes):
                out.append(part)
            else:
                out.append(b"\x10" + u32(self._function_index[part]))
        return b"".join(out) + b"\x0b"

    def _encode(self, instance: int, reference: code.Reference) -> bytes:
        kind, index, extra = reference
        if kind == code.CALL:
            return b"\x10" + u32(self._function_index[self.target(Function(instance, index))])
        if kind in (code.GLOBAL_GET, code.GLOBAL_GET_PLUS):
            return self._encode_get(instance, index, extra, kind == code.GLOBAL_GET_PLUS)
        if kind == code.GLOBAL_SET:
            return b"\x24" + u32(self._global_index[self.program.global_id(instance, index)])
        if kind == code.CALL_INDIRECT:
            return b"\x11" + u32(self._type(self.program.modules[instance].types[index])) + b"\x00"
        if kind == code.REF_FUNC:
            return b"\xd2" + u32(self._function_index[self.target(Function(instance, index))])
        return bytes([extra]) + s32(self._type(self.program.modules[instance].types[index]))

    def _encode_get(self, instance: int, index: int, addend: int, plus: bool) -> bytes:
        key = self.program.global_id(instance, index)
        if key not in self._global_index:
            return b"\x41" + s32(self.program.global_value(instance, index) + addend)
        get = b"\x23" + u32(self._global_index[key])
        return get + b"\x41" + s32(addend) + b"\x6a" if plus else get
