"""Links the core modules of an initialised component into one.

A component from componentize-py is a dynamically linked program that has already run: one main module holds the memory
with all its contents, the table and the values of all link-time globals (memory bases, GOT entries); the libraries are
position-independent code around it. Since every base is known, linking is renumbering:

- an import becomes the function, or the constant, that it resolves to;
- a global that no code sets becomes its value (only the stack pointers are left as globals);
- functions that nothing reaches, from the exports or from the table, are dropped.

The linker knows nothing of Python or proxy-wasm. What differs from plain linking comes in a Plan.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .component import Component, Exported, Lowered, ResourceDrop
from .errors import BuildError
from .wasm import code, emit
from .wasm.encoding import Reader, s32, u32
from .wasm.module import FUNC_KIND, GLOBAL_KIND, TABLE_KIND, FuncType, Module

PAGE = 65536


@dataclass(frozen=True, slots=True, order=True)
class Function:
    """A function that module instance `instance` defines; `index` counts its imports too."""

    instance: int
    index: int


@dataclass(frozen=True, slots=True)
class HostImport:
    """A function that the gateway provides."""

    module: str
    name: str
    type: FuncType


@dataclass(frozen=True, slots=True)
class StackPointer:
    """In the code of a Synthetic: gets or sets the shadow stack pointer."""

    set: bool = False


@dataclass(frozen=True, slots=True)
class Synthetic:
    """A function written by hand; in its code a function stands for a call of it. The name identifies it."""

    name: str
    type: FuncType
    code: "Code" = field(compare=False)
    i32_locals: int = field(default=0, compare=False)


Callable_ = Function | HostImport | Synthetic
Code = tuple[bytes | Callable_ | StackPointer, ...]


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


class Linker:
    """One link. After construction the program can be looked at and its memory image changed; `link` writes it."""

    def __init__(self, component: Component) -> None:
        self.component = component
        self.main = self._find_main()
        self.modules: dict[int, Module] = {
            index: component.module_of(index)
            for index, instance in enumerate(component.instances)
            if instance.module is not None
        }
        self._imports = {
            index: {kind: module.imported(kind) for kind in range(4)} for index, module in self.modules.items()
        }
        self._bodies: dict[Function, code.Body] = {}
        self._targets: dict[Function, Callable_] = {}
        self._constants: dict[tuple[int, int], int] = {}
        self._names: dict[int, dict[int, str]] = {}
        self.pages = self.modules[self.main].memories[0].minimum
        self.memory = self._memory_image()
        self.table = self._table_slots()
        self.plan = Plan()
        # Filled by link():
        self.function_index: dict[Callable_, int] = {}
        self._type_index: dict[FuncType, int] = {}
        self._global_index: dict[tuple[int, int], int] = {}

    # What the program consists of

    def _find_main(self) -> int:
        found = [
            index
            for index, instance in enumerate(self.component.instances)
            if instance.module is not None and self.component.modules[instance.module].memories
        ]
        if len(found) != 1:
            raise BuildError(f"one core module with a memory was expected in the component, found {len(found)}")
        return found[0]

    def exported(self, instance: int, name: str) -> Function:
        """The function that an instance exports under a name. Raises KeyError."""
        kind, index = self.modules[instance].exports[name]
        if kind != FUNC_KIND:
            raise KeyError(name)
        return Function(instance, index)

    def exported_or_named(self, instance: int, name: str) -> Function:
        """The function by its exported name, else by its name in the name section. Raises KeyError."""
        if name in self.modules[instance].exports:
            return self.exported(instance, name)
        return Function(instance, {text: index for index, text in self.function_names(instance).items()}[name])

    def library(self, name: str) -> int:
        """The instance of a library by its file name."""
        for instance in self.component.instances:
            for argument, index in instance.arguments.items():
                if argument.rpartition("/")[2] == name and index in self.modules:
                    return index
        raise BuildError(f"the library {name} was expected in the component, but is not there")

    def type_of(self, function: Callable_) -> FuncType:
        if not isinstance(function, Function):
            return function.type
        module = self.modules[function.instance]
        imported = self._imports[function.instance][FUNC_KIND]
        if function.index < len(imported):
            type_ = imported[function.index].type
            assert isinstance(type_, FuncType)
            return type_
        return module.types[module.functions[function.index - len(imported)]]

    def body(self, function: Function) -> code.Body:
        if function not in self._bodies:
            imported = len(self._imports[function.instance][FUNC_KIND])
            self._bodies[function] = code.scan(self.modules[function.instance].bodies[function.index - imported])
        return self._bodies[function]

    def definition(self, function: Function) -> Function | Lowered | ResourceDrop:
        """What a function index means: through imports to the instance that defines it, or out of the component."""
        imported = self._imports[function.instance][FUNC_KIND]
        if function.index >= len(imported):
            return function
        entry = imported[function.index]
        found = self.component.resolve(function.instance, entry.module, entry.name)
        return self.definition(self.exported(found.instance, found.name)) if isinstance(found, Exported) else found

    def target(self, function: Callable_) -> Callable_:
        """What a reference to a function means in the result: resolved, replaced and wrapped."""
        if not isinstance(function, Function):
            return function
        if function not in self._targets:
            self._targets[function] = self._target(function)
        return self._targets[function]

    def _target(self, function: Function) -> Callable_:
        definition = self.definition(function)
        if isinstance(definition, Lowered):
            return self.plan.lowered(definition, self.type_of(function))
        if isinstance(definition, ResourceDrop):
            assert self.plan.drop_handle is not None
            return self.plan.drop_handle
        if definition in self.plan.replacements:
            return self.plan.replacements[definition]
        return self.plan.wrappers.get(definition, definition)

    # Globals: constants, but for those that some code sets

    def _global(self, instance: int, index: int) -> tuple[int, int]:
        """The (instance, index) that defines a global."""
        imported = self._imports[instance][GLOBAL_KIND]
        if index >= len(imported):
            return instance, index
        definition = self.component.resolve(instance, imported[index].module, imported[index].name)
        assert isinstance(definition, Exported)
        kind, exported_index = self.modules[definition.instance].exports[definition.name]
        assert kind == GLOBAL_KIND
        return self._global(definition.instance, exported_index)

    def global_value(self, instance: int, index: int) -> int:
        """The initial value of a global; that of all but the stack pointers is final."""
        defined = self._global(instance, index)
        if defined not in self._constants:
            owner, own_index = defined
            imported = len(self._imports[owner][GLOBAL_KIND])
            self._constants[defined] = self._evaluate(owner, self.modules[owner].globals[own_index - imported].init)
        return self._constants[defined]

    def _evaluate(self, instance: int, expression: bytes) -> int:
        """The value of a constant expression over i32."""
        reader, stack = Reader(expression), list[int]()
        while (opcode := reader.byte()) != 0x0B:
            if opcode == 0x41:
                stack.append(reader.s64())
            elif opcode == 0x23:
                stack.append(self.global_value(instance, reader.u32()))
            elif opcode == 0x6A:
                stack.append(stack.pop() + stack.pop())
            else:
                raise BuildError(f"opcode {opcode:#x} in a constant expression; only i32 sums are expected here")
        return stack.pop() & 0xFFFFFFFF

    def data_address(self, instance: int, name: str) -> int:
        """The address of a data symbol that a library exports (relative to its memory base, as dylink says)."""
        kind, index = self.modules[instance].exports[name]
        assert kind == GLOBAL_KIND
        for base, entry in enumerate(self._imports[instance][GLOBAL_KIND]):
            if entry.name == "__memory_base":
                return self.global_value(instance, index) + self.global_value(instance, base)
        raise BuildError(f"the library that exports {name} has no memory base")

    # Memory and table

    def _memory_image(self) -> bytearray:
        image = bytearray(self.pages * PAGE)
        for index, module in self.modules.items():
            if module.data and index != self.main:
                raise BuildError("data was expected in the main module only, as after componentize-py's initialisation")
            for segment in module.data:
                start = self._evaluate(index, segment.offset)
                image[start : start + len(segment.data)] = segment.data
        return image

    def _table_slots(self) -> list[Function | None]:
        slots: list[Function | None] = [None] * self.modules[self.main].tables[0].minimum
        for index, module in self.modules.items():
            if not module.elements or not self._has_main_table(index):
                continue
            for segment in module.elements:
                start = self._evaluate(index, segment.offset)
                for position, function in enumerate(segment.functions, start):
                    definition = self.definition(Function(index, function))
                    slots[position] = definition if isinstance(definition, Function) else Function(index, function)
        return slots

    def _has_main_table(self, instance: int) -> bool:
        if instance == self.main:
            return True
        tables = self._imports[instance][TABLE_KIND]
        if not tables:
            return False
        definition = self.component.resolve(instance, tables[0].module, tables[0].name)
        return isinstance(definition, Exported) and definition.instance == self.main

    def add_page(self) -> int:
        """Appends a page to the initial memory for the linker's own data; returns its address."""
        address = self.pages * PAGE
        self.pages += 1
        self.memory += bytes(PAGE)
        return address

    def word(self, address: int) -> int:
        """The little-endian u32 in the memory image."""
        return int.from_bytes(self.memory[address : address + 4], "little")

    # The link

    def link(self, plan: Plan) -> bytes:
        """The core module. The same component and plan give the same bytes."""
        self.plan = plan
        self._targets.clear()
        reached = self._reach()
        slots = [None if slot is None else self.target(slot) for slot in self.table]
        host = sorted((f for f in reached if isinstance(f, HostImport)), key=lambda f: (f.module, f.name))
        own = sorted(f for f in reached if isinstance(f, Function))
        made = sorted((f for f in reached if isinstance(f, Synthetic)), key=lambda f: f.name)
        order: list[Callable_] = [*host, *own, *made]
        self.function_index = {function: index for index, function in enumerate(order)}
        self._type_index = {}
        for function in order:
            self._type_index.setdefault(self.type_of(function), len(self._type_index))
        kept_globals = self._set_globals(own)
        self._global_index = {key: index for index, key in enumerate(kept_globals)}
        bodies = [self._emit(f) for f in own] + [self._emit_synthetic(f) for f in made]  # adds types
        sections = [
            emit.types(list(self._type_index)),
            emit.imported_functions((f.module, f.name, self._type_index[f.type]) for f in host),
            emit.functions(self._type_index[self.type_of(f)] for f in order[len(host) :]),
            emit.table(len(slots)),
            emit.memory(self.pages),
            emit.mutable_i32_globals(self.global_value(*key) for key in kept_globals),
            emit.exports(
                [("memory", 2, 0)]
                + [(name, FUNC_KIND, self.function_index[self.target(f)]) for name, f in plan.exports.items()]
            ),
            emit.elements([None if slot is None else self.function_index[slot] for slot in slots]),
            emit.code(bodies),
            emit.data(bytes(self.memory)),
        ]
        if plan.keep_names:
            sections.append(emit.function_names((i, self._name(f)) for f, i in self.function_index.items()))
        return emit.module(sections)

    def _reach(self) -> set[Callable_]:
        reached: set[Callable_] = set()
        waiting = [self.target(f) for f in [*self.plan.exports.values(), *filter(None, self.table)]]
        while waiting:
            function = waiting.pop()
            if function in reached:
                continue
            reached.add(function)
            if isinstance(function, Synthetic):  # its calls are meant as written: a wrapper calls what it wraps
                waiting += [part for part in function.code if isinstance(part, Callable_)]
            elif isinstance(function, Function):
                waiting += [
                    self.target(Function(function.instance, reference.index))
                    for reference in self.body(function).references()
                    if reference.kind in (code.CALL, code.REF_FUNC)
                ]
        return reached

    def _set_globals(self, functions: Iterable[Function]) -> list[tuple[int, int]]:
        return sorted(
            {
                self._global(function.instance, reference.index)
                for function in functions
                for reference in self.body(function).references()
                if reference.kind == code.GLOBAL_SET
            }
        )

    def _stack_pointer(self) -> int:
        kind, index = self.modules[self.main].exports["__stack_pointer"]
        assert kind == GLOBAL_KIND
        return self._global_index[self._global(self.main, index)]

    def _type(self, type_: FuncType) -> int:
        return self._type_index.setdefault(type_, len(self._type_index))

    def function_names(self, instance: int) -> dict[int, str]:
        """Function index -> name, as far as an instance's module names its functions."""
        if instance not in self._names:
            self._names[instance] = self.modules[instance].function_names()
        return self._names[instance]

    def _name(self, function: Callable_) -> str:
        if not isinstance(function, Function):
            return function.name
        names = self.function_names(function.instance)
        return names.get(function.index, f"function_{function.instance}_{function.index}")

    def _emit(self, function: Function) -> bytes:
        body, instance = self.body(function), function.instance
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
                out.append(b"\x10" + u32(self.function_index[part]))
        return b"".join(out) + b"\x0b"

    def _encode(self, instance: int, reference: code.Reference) -> bytes:
        kind, index, extra = reference
        if kind == code.CALL:
            return b"\x10" + u32(self.function_index[self.target(Function(instance, index))])
        if kind in (code.GLOBAL_GET, code.GLOBAL_GET_PLUS):
            return self._encode_get(instance, index, extra, kind == code.GLOBAL_GET_PLUS)
        if kind == code.GLOBAL_SET:
            return b"\x24" + u32(self._global_index[self._global(instance, index)])
        if kind == code.CALL_INDIRECT:
            return b"\x11" + u32(self._type(self.modules[instance].types[index])) + b"\x00"
        if kind == code.REF_FUNC:
            return b"\xd2" + u32(self.function_index[self.target(Function(instance, index))])
        return bytes([extra]) + s32(self._type(self.modules[instance].types[index]))

    def _encode_get(self, instance: int, index: int, addend: int, plus: bool) -> bytes:
        key = self._global(instance, index)
        if key not in self._global_index:
            return b"\x41" + s32(self.global_value(instance, index) + addend)
        get = b"\x23" + u32(self._global_index[key])
        return get + b"\x41" + s32(addend) + b"\x6a" if plus else get
