"""A core module as data: parsed from bytes; function bodies and data stay bytes."""

from dataclasses import dataclass, field

from .encoding import Malformed, Reader

MAGIC = b"\0asm\1\0\0\0"

CUSTOM, TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, START, ELEMENT, CODE, DATA, DATA_COUNT = range(13)
FUNC_KIND, TABLE_KIND, MEMORY_KIND, GLOBAL_KIND = range(4)
KIND_NAMES = ("func", "table", "memory", "global")

I32, I64, F32, F64 = 0x7F, 0x7E, 0x7D, 0x7C
_FUNCTION_NAMES = 1  # a subsection of the name section
VALUE_TYPES = {I32: "i32", I64: "i64", F32: "f32", F64: "f64"}


@dataclass(frozen=True, slots=True)
class FuncType:
    params: bytes
    results: bytes

    def __str__(self) -> str:
        params, results = ([VALUE_TYPES.get(t, hex(t)) for t in types] for types in (self.params, self.results))
        return f"({', '.join(params)}) -> ({', '.join(results)})"


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a memory in pages of 64 KiB, of a table in elements."""

    minimum: int
    maximum: int | None = None


@dataclass(frozen=True, slots=True)
class GlobalType:
    value_type: int
    mutable: bool


@dataclass(frozen=True, slots=True)
class Import:
    module: str
    name: str
    kind: int
    type: FuncType | Limits | GlobalType


@dataclass(frozen=True, slots=True)
class Global:
    type: GlobalType
    init: bytes  # a constant expression with its end


@dataclass(frozen=True, slots=True)
class Element:
    """An active segment of table 0."""

    offset: bytes  # a constant expression with its end
    functions: list[int]


@dataclass(frozen=True, slots=True)
class DataSegment:
    """An active segment of memory 0."""

    offset: bytes  # a constant expression with its end
    data: bytes


@dataclass(slots=True)
class Module:
    types: list[FuncType] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    functions: list[int] = field(default_factory=list)  # type index of each defined function
    tables: list[Limits] = field(default_factory=list)
    memories: list[Limits] = field(default_factory=list)
    globals: list[Global] = field(default_factory=list)
    exports: dict[str, tuple[int, int]] = field(default_factory=dict)  # name -> kind, index
    start: int | None = None
    elements: list[Element] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)  # locals and code, without the size
    data: list[DataSegment] = field(default_factory=list)
    custom: dict[str, bytes] = field(default_factory=dict)

    def imported(self, kind: int) -> list[Import]:
        return [entry for entry in self.imports if entry.kind == kind]

    def function_names(self) -> dict[int, str]:
        """Function index -> name, from the name section; empty without one."""
        reader = Reader(self.custom.get("name", b""))
        while reader and reader.byte() != _FUNCTION_NAMES:
            reader.sub()
        return _name_map(reader.sub()) if reader else {}


def _name_map(reader: Reader) -> dict[int, str]:
    return dict(reader.vec(lambda: (reader.u32(), reader.name())))


def parse(data: bytes) -> Module:
    """Raises Malformed for anything that is not a core module made of what compilers emit for MVP and bulk memory."""
    if data[:8] != MAGIC:
        raise Malformed("not a core WebAssembly module")
    module = Module()
    reader = Reader(data, 8)
    while reader:
        section, body = reader.byte(), reader.sub()
        if section == CUSTOM:
            section_name = body.name()
            module.custom[section_name] = body.bytes(body.end - body.pos)
        else:
            _read_section(module, section, body)
    return module


def _read_section(module: Module, section: int, reader: Reader) -> None:
    if section == TYPE:
        module.types = reader.vec(lambda: _func_type(reader))
    elif section == IMPORT:
        module.imports = reader.vec(lambda: _import(module, reader))
    elif section == FUNCTION:
        module.functions = reader.vec(reader.u32)
    elif section == TABLE:
        module.tables = reader.vec(lambda: _table(reader))
    elif section == MEMORY:
        module.memories = reader.vec(lambda: _limits(reader))
    elif section == GLOBAL:
        module.globals = reader.vec(lambda: Global(_global_type(reader), constant_expression(reader)))
    elif section == EXPORT:
        module.exports = dict(reader.vec(lambda: (reader.name(), (reader.byte(), reader.u32()))))
    elif section == START:
        module.start = reader.u32()
    elif section == ELEMENT:
        module.elements = reader.vec(lambda: _element(reader))
    elif section == CODE:
        module.bodies = reader.vec(lambda: reader.bytes(reader.u32()))
    elif section == DATA:
        module.data = reader.vec(lambda: _data_segment(reader))
    elif section != DATA_COUNT:
        raise Malformed(f"unknown section {section}")


def _func_type(reader: Reader) -> FuncType:
    if (form := reader.byte()) != 0x60:
        raise Malformed(f"function type expected, found form {form:#x}")
    return FuncType(reader.bytes(reader.u32()), reader.bytes(reader.u32()))


def _import(module: Module, reader: Reader) -> Import:
    source, name, kind = reader.name(), reader.name(), reader.byte()
    if kind == FUNC_KIND:
        return Import(source, name, kind, module.types[reader.u32()])
    if kind == TABLE_KIND:
        return Import(source, name, kind, _table(reader))
    if kind == MEMORY_KIND:
        return Import(source, name, kind, _limits(reader))
    if kind == GLOBAL_KIND:
        return Import(source, name, kind, _global_type(reader))
    raise Malformed(f"import {source}.{name} of kind {kind}")


def _limits(reader: Reader) -> Limits:
    flags = reader.byte()
    if flags > 1:
        raise Malformed(f"limits with flags {flags:#x} (shared or 64-bit)")
    return Limits(reader.u32(), reader.u32() if flags else None)


def _table(reader: Reader) -> Limits:
    if (element_type := reader.byte()) != 0x70:
        raise Malformed(f"table of {element_type:#x}, only funcref is known")
    return _limits(reader)


def _global_type(reader: Reader) -> GlobalType:
    return GlobalType(reader.byte(), bool(reader.byte()))


def constant_expression(reader: Reader) -> bytes:
    """The bytes of a constant expression, its end included."""
    start = reader.pos
    while (opcode := reader.byte()) != 0x0B:
        if opcode in (0x41, 0x42):
            reader.s64()
        elif opcode == 0x43:
            reader.bytes(4)
        elif opcode == 0x44:
            reader.bytes(8)
        elif opcode in (0x23, 0xD2):
            reader.u32()
        elif opcode not in (0x6A, 0x6B, 0x6C):
            raise Malformed(f"opcode {opcode:#x} in a constant expression")
    return reader.data[start : reader.pos]


def _element(reader: Reader) -> Element:
    if flags := reader.u32():
        raise Malformed(f"element segment of kind {flags}, only active ones of table 0 are known")
    return Element(constant_expression(reader), reader.vec(reader.u32))


def _data_segment(reader: Reader) -> DataSegment:
    if flags := reader.u32():
        raise Malformed(f"data segment of kind {flags}, only active ones of memory 0 are known")
    return DataSegment(constant_expression(reader), reader.bytes(reader.u32()))
