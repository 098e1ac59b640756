"""The plugins in tests/plugins as modules, built when a test needs them and kept in build/ until something changes."""

import functools
import hashlib
from pathlib import Path

from proxywasm_build.build import Request, build
from proxywasm_build.targets import TARGETS

_REPOSITORY = Path(__file__).resolve().parents[1]
_PLUGINS = _REPOSITORY / "tests" / "plugins"
_CACHE = _REPOSITORY / "build" / "test-plugins"


def built_plugin(plugin: str, target: str, debug: bool = False) -> Path:
    """The module of `plugin` (MODULE:CLASS) for a target. Raises BuildError."""
    name = f"{plugin.partition(':')[0]}.{target}{'.debug' if debug else ''}"
    path = _CACHE / f"{name}.{_sources_hash(plugin)}.wasm"
    if not path.is_file():
        _CACHE.mkdir(parents=True, exist_ok=True)
        for outdated in _CACHE.glob(f"{name}.*.wasm"):
            outdated.unlink()
        linked = build(Request(plugin, TARGETS[target], (_PLUGINS,), debug=debug))
        partial = path.with_suffix(".partial")
        partial.write_bytes(linked.module)
        partial.replace(path)
    return path


@functools.cache
def _sources_hash(plugin: str) -> str:
    """Of the build tool, the SDK, the C extension and the plugin."""
    digest = hashlib.sha256(plugin.encode())
    files = [path for path in (_REPOSITORY / "abi").rglob("*") if path.suffix in (".py", ".so")]
    for path in sorted([*files, _PLUGINS / f"{plugin.partition(':')[0]}.py"]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
