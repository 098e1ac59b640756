"""A clean copy of what goes into the guest: the plugin, what it imports, the SDK and the C extension.

componentize-py mounts whole folders and writes caches into them, so it gets a folder of its own that holds no more than
is wanted.
"""

import ast
import importlib.util
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from .errors import BuildError

_HERE = Path(__file__).resolve().parent
_EXTENSION = "_proxywasm.abi3.so"
_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "*.so", "*.pyd", "*.dylib")

WIT = """\
package proxywasm:plugin;

world plugin {
    export initialise: func();
}
"""


def copy_sources(
    plugin: str, target: str, python_path: Sequence[Path], destination: Path, keep_docstrings: bool, keep_source: bool
) -> list[str]:
    """Fills `destination` with everything that the guest imports; returns the names of the packages copied.

    Modules are looked for in `python_path`, and followed from import to import. Raises BuildError.
    """
    module = plugin.partition(":")[0]
    copied: list[str] = []
    waiting = [module.partition(".")[0]]
    while waiting:
        name = waiting.pop()
        if name in copied or name in ("proxywasm", "_proxywasm"):
            continue
        source = _find(name, python_path)
        if source is None:
            if name == module.partition(".")[0]:
                folders = ", ".join(map(str, python_path))
                raise BuildError(f"the plugin's module {name} was expected in {folders}; say where with --python-path")
            continue  # of the standard library, or missing: the guest's import will tell
        copied.append(name)
        _copy(source, destination)
        waiting += sorted(set(_imports(source)))
    _copy(_sdk(), destination)
    shutil.copy(_extension(), destination / _EXTENSION)
    for part in (_HERE / "guest").glob("*.py"):
        shutil.copy(part, destination)
    settings = {"PLUGIN": plugin, "TARGET": target, "KEEP_DOCSTRINGS": keep_docstrings, "KEEP_SOURCE": keep_source}
    (destination / "proxywasm_plugin.py").write_text("".join(f"{k} = {v!r}\n" for k, v in settings.items()))
    return sorted(copied)


def _find(name: str, python_path: Sequence[Path]) -> Path | None:
    """The package folder or the file of a top-level module, if it is neither built in nor of the standard library."""
    if name in sys.stdlib_module_names:
        return None
    for folder in python_path:
        for candidate in (folder / name, folder / f"{name}.py"):
            if candidate.is_dir() or candidate.is_file():
                return candidate
    return None


def _copy(source: Path, destination: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, destination / source.name, ignore=_IGNORED, dirs_exist_ok=True)
    else:
        shutil.copy(source, destination)


def _imports(source: Path) -> Iterator[str]:
    """The top-level names that a module or any module of a package imports."""
    for path in sorted(source.rglob("*.py")) if source.is_dir() else [source]:
        try:
            tree = ast.parse(path.read_bytes(), str(path))
        except SyntaxError:
            continue  # perhaps newer than this Python; the guest's import will tell
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]


def _sdk() -> Path:
    spec = importlib.util.find_spec("proxywasm")
    if spec is None or spec.origin is None:
        raise BuildError("the SDK, the package proxywasm, was expected beside the build tool; is the install complete?")
    return Path(spec.origin).parent


def _extension() -> Path:
    """Beside the build tool in an installed wheel, in abi/native in a checkout."""
    for folder in (_HERE, _HERE.parent / "native"):
        if (folder / _EXTENSION).is_file():
            return folder / _EXTENSION
    raise BuildError(f"{_EXTENSION} was expected beside the build tool; is the install complete?")
