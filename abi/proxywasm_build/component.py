"""A component taken apart: its core modules, how they are instantiated, and what each of their imports resolves to.

Only what a linker asks is read: core modules and instances, aliases, canonical functions, imports. Types are skipped,
except that an index space is counted wherever something is added to it. Section numbers and encodings:
component-model/design/mvp/Binary.md.
"""

from dataclasses import dataclass, field

from .errors import BuildError
from .wasm.encoding import Malformed, Reader
from .wasm.module import FUNC_KIND, GLOBAL_KIND, KIND_NAMES, Module, parse

MAGIC = b"\0asm\r\0\1\0"


@dataclass(frozen=True, slots=True)
class Exported:
    """A definition that core instance `instance` exports as `name`."""

    instance: int
    name: str


@dataclass(frozen=True, slots=True)
class Lowered:
    """A function that the component imports from `interface`, lowered to core types."""

    interface: str
    name: str


@dataclass(frozen=True, slots=True)
class ResourceDrop:
    """The canonical function that drops a handle: (i32) -> ()."""


Definition = Exported | Lowered | ResourceDrop


@dataclass(slots=True)
class Instance:
    """A module instantiated with other instances by name, or, without a module, a bag of definitions."""

    module: int | None = None
    arguments: dict[str, int] = field(default_factory=dict)
    exports: dict[str, Definition] = field(default_factory=dict)


@dataclass(slots=True)
class Component:
    modules: list[Module] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)

    def module_of(self, instance: int) -> Module:
        index = self.instances[instance].module
        assert index is not None
        return self.modules[index]

    def resolve(self, instance: int, module: str, name: str) -> Definition:
        """What import `module`.`name` of a core instance is, after bags and the shim have been looked through.

        wit-component lets early modules import lowered functions, which need the memory that is made later, from a
        *shim*: its export k calls slot k of a table that a last module, the fixup, fills from its imports named k.
        """
        definition: Definition = Exported(self.instances[instance].arguments[module], name)
        while isinstance(definition, Exported):
            source = self.instances[definition.instance]
            if source.module is None:
                definition = source.exports[definition.name]
            elif "$imports" in self.modules[source.module].exports and definition.name != "$imports":
                definition = Exported(self.instances[self.fixup()].arguments[""], definition.name)
            else:
                break
        return definition

    def fixup(self) -> int:
        """The instance that fills the shim's table."""
        for index, instance in enumerate(self.instances):
            if instance.module is not None and any(
                entry.name == "$imports" for entry in self.modules[instance.module].imports
            ):
                return index
        raise KeyError("the fixup module of wit-component's shim")


def parse_component(data: bytes) -> Component:
    """Raises BuildError if the bytes are not a component of the expected kind."""
    if data[:8] != MAGIC:
        raise BuildError("a component was expected from componentize-py, found something else; is its version pinned?")
    try:
        return _Parser().parse(data)
    except (Malformed, IndexError, KeyError) as error:
        raise BuildError(
            "the component's layout is not the one that this linker knows (componentize-py 0.25.1): "
            f"{type(error).__name__}: {error}. Install the pinned version of componentize-py."
        ) from error


class _Parser:
    def __init__(self) -> None:
        self.component = Component()
        # Index spaces. Component-level functions are (interface, name); instances are the interface they stand for.
        self.core: list[list[Definition]] = [[] for _ in KIND_NAMES]
        self.functions: list[tuple[str, str]] = []
        self.interfaces: list[str] = []

    def parse(self, data: bytes) -> Component:
        reader = Reader(data, 8)
        entries = {2: self.core_instance, 5: self.instance, 6: self.alias, 8: self.canonical, 10: self.imported}
        while reader:
            section, body = reader.byte(), reader.sub()
            if section == 1:
                self.component.modules.append(parse(body.bytes(body.end - body.pos)))
            elif section in entries:
                for _ in range(body.u32()):
                    entries[section](body)
        return self.component

    def core_instance(self, reader: Reader) -> None:
        instance = Instance()
        if reader.byte() == 0:
            instance.module = reader.u32()
            instance.arguments = dict(reader.vec(lambda: (reader.name(), (reader.byte(), reader.u32())[1])))
        else:
            instance.exports = dict(reader.vec(lambda: (reader.name(), self.core[reader.byte()][reader.u32()])))
        self.component.instances.append(instance)

    def instance(self, reader: Reader) -> None:
        """Component instances made here are exports for the component's user; none is linked."""
        if reader.byte() == 0:
            reader.u32()
            reader.vec(lambda: (reader.name(), self.sort(reader), reader.u32()))
        else:
            reader.vec(lambda: (self.external_name(reader), self.sort(reader), reader.u32()))
        self.interfaces.append("")

    def alias(self, reader: Reader) -> None:
        sort, core_sort = self.sort(reader)
        target = reader.byte()
        if target == 2:  # of an outer component
            reader.u32()
            reader.u32()
            return
        instance, name = reader.u32(), reader.name()
        if target == 1:
            self.core[core_sort].append(Exported(instance, name))
        elif sort == 1:
            self.functions.append((self.interfaces[instance], name))
        elif sort == 5:
            self.interfaces.append(name)

    def canonical(self, reader: Reader) -> None:
        kind = reader.byte()
        functions = self.core[FUNC_KIND]
        if kind == 0:  # lift: a component-level function
            reader.byte()
            reader.u32()
            self.options(reader)
            reader.u32()
            self.functions.append(("", ""))
        elif kind == 1:
            reader.byte()
            functions.append(Lowered(*self.functions[reader.u32()]))
            self.options(reader)
        elif kind in (2, 3, 4):  # resource.new, .drop, .rep
            reader.u32()
            functions.append(ResourceDrop())
        else:
            raise Malformed(f"canonical function of kind {kind}")

    def options(self, reader: Reader) -> None:
        for _ in range(reader.u32()):
            if reader.byte() > 2:  # memory, realloc, post-return name something; string encodings do not
                reader.u32()

    def imported(self, reader: Reader) -> None:
        name = self.external_name(reader)
        sort = reader.byte()
        if sort == 0:
            raise Malformed(f"the component imports a core module, {name}")
        if sort == 3 and reader.byte() == 1:  # a type bound "sub resource" has no index
            return
        reader.u32()
        if sort == 1:
            self.functions.append(("$root", name))
        elif sort == 5:
            self.interfaces.append(name)

    def external_name(self, reader: Reader) -> str:
        reader.byte()
        return reader.name()

    def sort(self, reader: Reader) -> tuple[int, int]:
        """(sort, core sort); the core sort counts only where the sort is 0."""
        sort = reader.byte()
        return sort, reader.byte() if sort == 0 else GLOBAL_KIND
