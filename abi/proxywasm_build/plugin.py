"""From the component of a plugin to the module that a gateway loads: the plan of the link."""

import json
from dataclasses import dataclass

from . import heap, prune, stack_guard
from .component import parse_component
from .errors import BuildError
from .functions import Callable_, Function, HostImport, Synthetic
from .linker import Plan, link
from .program import Program
from .static_data import StaticData
from .targets import CALLBACKS, Target
from .wasi import WasiStubs
from .wasm.encoding import Malformed
from .wasm.module import FUNC_KIND, FuncType

EXTENSION = "_proxywasm.abi3.so"
_MANIFEST_SIZE_MAX = 1 << 20
_ALLOCATOR = "proxy_on_memory_allocate"


@dataclass(frozen=True, slots=True)
class Options:
    """The switches of a link; the defaults are what a gateway wants."""

    keep_free_heap: bool = False
    keep_c_modules: bool = False
    keep_names: bool = False
    stack_charge: int = stack_guard.CHARGE


@dataclass(frozen=True, slots=True)
class Linked:
    module: bytes
    exports: tuple[str, ...]
    pruned_modules: tuple[str, ...]
    cleared_size: int  # of tables of C modules left out, bytes
    scrubbed_size: int  # of the free heap, bytes that were not zero


def link_plugin(component: bytes, target: Target, options: Options) -> Linked:
    """Raises BuildError if the component is not that of a plugin, or wants what the target lacks."""
    try:
        return _link(Program(parse_component(component)), target, options)
    except Malformed as error:
        raise BuildError(
            f"the component holds code that this linker does not know: {error}; use the pinned componentize-py"
        ) from error


def _link(program: Program, target: Target, options: Options) -> Linked:
    extension = program.library(EXTENSION)
    manifest = _read_manifest(program, extension)
    data = StaticData(program)
    wasi = WasiStubs(program, target, data)
    plan = Plan(lowered=wasi.stub, drop_handle=wasi.drop_handle(), keep_names=options.keep_names)
    plan.replacements = _host_functions(program, extension, target)
    plan.exports = _exports(program, extension, target, manifest["exports"])
    pruned = prune.Pruned((), {}, 0)
    if not options.keep_c_modules:
        log = HostImport("env", "proxy_log", target.env["proxy_log"])
        pruned = prune.prune(program, manifest["modules"], log, data)
        plan.replacements |= pruned.replacements
    if options.stack_charge:
        plan.wrappers = stack_guard.wrappers(program, data, options.stack_charge)
    scrubbed = 0 if options.keep_free_heap else heap.scrub(program)
    return Linked(link(program, plan), tuple(plan.exports), pruned.modules, pruned.cleared_size, scrubbed)


def _read_manifest(program: Program, extension: int) -> dict[str, list[str]]:
    """What the plugin left in the guest's memory with `set_manifest`: see proxywasm.vm.start."""
    address = program.word(program.data_address(extension, "proxywasm_manifest"))
    size = program.word(program.data_address(extension, "proxywasm_manifest_size"))
    if not 0 < size <= _MANIFEST_SIZE_MAX or address + size > len(program.memory):
        raise BuildError("the plugin was imported but not started: proxywasm.vm.start left no manifest")
    manifest: dict[str, list[str]] = json.loads(program.memory[address : address + size])
    return manifest


def _host_functions(program: Program, extension: int, target: Target) -> dict[Function, Callable_]:
    """The extension's stubs of host calls that this target has, with the imports that take their place."""
    replacements: dict[Function, Callable_] = {}
    for name, (kind, _) in program.modules[extension].exports.items():
        if kind != FUNC_KIND or name not in target.env:
            continue
        stub = program.exported(extension, name)
        if program.type_of(stub) != target.env[name]:
            raise BuildError(f"{name} was expected as {target.env[name]}, the extension has {program.type_of(stub)}")
        replacements[stub] = HostImport("env", name, target.env[name])
    return replacements


def _exports(program: Program, extension: int, target: Target, callbacks: list[str]) -> dict[str, Callable_]:
    """Markers first, in the target's order, as the first that a host knows decides; then the rest."""
    nothing = FuncType(b"", b"")
    exports: dict[str, Callable_] = {
        name: Synthetic(name, nothing, ()) for name in (*target.abi_markers, "_initialize")
    }
    for name in sorted(callbacks):
        expected = CALLBACKS.get(name)
        if expected is None:
            raise BuildError(f"the plugin wants to export {name}, which is no callback of proxy-wasm")
        function = program.exported(extension, name)
        if program.type_of(function) != expected:
            raise BuildError(f"{name} was expected as {expected}, the extension has {program.type_of(function)}")
        exports[name] = function
    exports[_ALLOCATOR] = exports["malloc"] = program.exported(extension, _ALLOCATOR)
    return exports
