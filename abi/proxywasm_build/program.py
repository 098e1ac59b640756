"""A component from componentize-py seen as one program.

It is a dynamically linked program that has already run: one main module holds the memory with all its contents, the
table and the values of all link-time globals (memory bases, GOT entries); the libraries are position-independent code
around it. Nothing here knows of Python or proxy-wasm.
"""

from .component import Component, Exported, Lowered, ResourceDrop
from .errors import BuildError
from .functions import Callable_, Function
from .wasm import code
from .wasm.encoding import Reader
from .wasm.module import FUNC_KIND, GLOBAL_KIND, TABLE_KIND, FuncType, Module

PAGE = 65536

GlobalId = tuple[int, int]  # of the instance that defines it, and its index there


class Program:
    """What the program consists of. `memory`, its initial image, may be changed before it is linked."""

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
        self._values: dict[GlobalId, int] = {}
        self._names: dict[int, dict[int, str]] = {}
        self.memory = self._memory_image()
        self.table = self._table_slots()

    def _find_main(self) -> int:
        found = [
            index
            for index, instance in enumerate(self.component.instances)
            if instance.module is not None and self.component.modules[instance.module].memories
        ]
        if len(found) != 1:
            raise BuildError(f"one core module with a memory was expected in the component, found {len(found)}")
        return found[0]

    # Functions

    def exported(self, instance: int, name: str) -> Function:
        """The function that an instance exports under a name. Raises KeyError."""
        kind, index = self.modules[instance].exports[name]
        if kind != FUNC_KIND:
            raise KeyError(name)
        return Function(instance, index)

    def named(self, instance: int, name: str) -> Function:
        """The function of a name in an instance's name section. Raises KeyError."""
        return Function(instance, {text: index for index, text in self.function_names(instance).items()}[name])

    def function_names(self, instance: int) -> dict[int, str]:
        """Function index -> name, as far as an instance's module names its functions."""
        if instance not in self._names:
            self._names[instance] = self.modules[instance].function_names()
        return self._names[instance]

    def library(self, name: str) -> int:
        """The instance of a library by its file name."""
        for instance in self.component.instances:
            for argument, index in instance.arguments.items():
                if argument.rpartition("/")[2] == name and index in self.modules:
                    return index
        raise BuildError(f"the library {name} was expected in the component, but is not there")

    def libraries(self) -> list[int]:
        """The instances of position-independent libraries."""
        return [index for index in self.modules if self._memory_base_import(index) is not None]

    def functions(self, instance: int) -> list[Function]:
        """Those that an instance defines."""
        first = len(self._imports[instance][FUNC_KIND])
        return [Function(instance, first + i) for i in range(len(self.modules[instance].bodies))]

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

    # Globals

    def global_id(self, instance: int, index: int) -> GlobalId:
        """What a global index means: through imports to the instance that defines it."""
        imported = self._imports[instance][GLOBAL_KIND]
        if index >= len(imported):
            return instance, index
        definition = self.component.resolve(instance, imported[index].module, imported[index].name)
        assert isinstance(definition, Exported)
        kind, exported_index = self.modules[definition.instance].exports[definition.name]
        assert kind == GLOBAL_KIND
        return self.global_id(definition.instance, exported_index)

    def global_value(self, instance: int, index: int) -> int:
        """The initial value of a global; that of all but the stack pointers is final."""
        defined = self.global_id(instance, index)
        if defined not in self._values:
            owner, own_index = defined
            imported = len(self._imports[owner][GLOBAL_KIND])
            self._values[defined] = self._evaluate(owner, self.modules[owner].globals[own_index - imported].init)
        return self._values[defined]

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
        return self.global_value(instance, index) + self.memory_base(instance)

    def memory_base(self, instance: int) -> int:
        """Where the static data of a library begins."""
        index = self._memory_base_import(instance)
        if index is None:
            raise BuildError(f"instance {instance} was expected to be a library, but has no memory base")
        return self.global_value(instance, index)

    def _memory_base_import(self, instance: int) -> int | None:
        names = [entry.name for entry in self._imports[instance][GLOBAL_KIND]]
        return names.index("__memory_base") if "__memory_base" in names else None

    # Memory and table

    def _memory_image(self) -> bytearray:
        image = bytearray(self.modules[self.main].memories[0].minimum * PAGE)
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
        address = len(self.memory)
        self.memory += bytes(PAGE)
        return address

    def word(self, address: int) -> int:
        """The little-endian u32 in the memory image."""
        return int.from_bytes(self.memory[address : address + 4], "little")
