"""What a module is: the facts that decide whether and how well a gateway can load it."""

import gzip
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from .errors import BuildError
from .targets import ALLOCATORS, TARGETS, Target
from .validation import validate
from .wasm import code
from .wasm.encoding import Malformed, Reader
from .wasm.module import CODE, DATA, FUNC_KIND, Module, parse

_MARKER = "proxy_abi_version_"
_FEATURES = {"mvp", "sign-ext", "nontrapping-fptoint", "bulk-memory"}


@dataclass(frozen=True, slots=True)
class Inspection:
    """Sizes are in bytes, but for `memory_pages` of 64 KiB."""

    target: str
    abi_markers: tuple[str, ...]
    imports: tuple[str, ...]
    exports: tuple[str, ...]
    code_size: int
    data_size: int
    total_size: int
    gzip_size: int
    memory_pages: int
    features: tuple[str, ...]
    is_valid: bool
    validation: str

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def inspect_module(data: bytes) -> Inspection:
    """Raises BuildError if the bytes are not a core module."""
    try:
        module = parse(data)
        sizes = _section_sizes(data)
        features = ("mvp", *sorted(name.replace("_", "-") for name in code.features(module.bodies)))
    except Malformed as error:
        raise BuildError(f"a core WebAssembly module was expected: {error}") from error
    try:
        validate(data)
        validation = "valid"
    except BuildError as error:
        validation = str(error)
    return Inspection(
        target=_target(module),
        abi_markers=tuple(name for name in module.exports if name.startswith(_MARKER)),
        imports=tuple(f"{entry.module}.{entry.name}" for entry in module.imports),
        exports=tuple(name for name in module.exports if not name.startswith(_MARKER)),
        code_size=sizes.get(CODE, 0),
        data_size=sizes.get(DATA, 0),
        total_size=len(data),
        gzip_size=len(gzip.compress(data, 9, mtime=0)),
        memory_pages=sum(memory.minimum for memory in module.memories),
        features=features,
        is_valid=validation == "valid",
        validation=validation,
    )


def problems(data: bytes, target: Target) -> Iterator[str]:
    """Why a gateway might not load a module; nothing if it would."""
    found, module = inspect_module(data), parse(data)
    if not found.is_valid:
        yield found.validation
    if extra := set(found.features) - _FEATURES:
        yield f"only the features {', '.join(sorted(_FEATURES))} were expected, found {', '.join(sorted(extra))}"
    if len(module.memories) != 1 or "memory" not in module.exports:
        yield f"one exported memory was expected, found {len(module.memories)}"
    if module.start is not None:
        yield "no start section was expected, found one; a gateway may crash on it"
    if found.abi_markers != target.abi_markers:
        yield f"the ABI markers {target.abi_markers} were expected in this order, found {found.abi_markers}"
    for entry in module.imports:
        offered = target.offers(entry.module, entry.name)
        if offered is None:
            yield f"{entry.module}.{entry.name} is imported, which {target.name} does not offer"
        elif offered != entry.type:
            yield f"{entry.module}.{entry.name} is imported as {entry.type}, {target.name} offers {offered}"
    for name in ("_initialize", *ALLOCATORS):
        if module.exports.get(name, (None, 0))[0] != FUNC_KIND:
            yield f"an exported function {name} was expected"


def _target(module: Module) -> str:
    markers = {name for name in module.exports if name.startswith(_MARKER)}
    for target in TARGETS.values():
        if set(target.abi_markers) == markers:
            return target.name
    return "unknown"


def _section_sizes(data: bytes) -> dict[int, int]:
    sizes: dict[int, int] = {}
    reader = Reader(data, 8)
    while reader:
        section, body = reader.byte(), reader.sub()
        sizes[section] = body.end - body.pos
    return sizes
