"""The functions of a link: those that a program defines, those that the gateway provides, those written by hand."""

from dataclasses import dataclass, field

from .wasm.module import FuncType


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
