"""Built plugins kept in a folder until something that goes into them changes: for tests and benchmarks."""

import hashlib
from pathlib import Path

from .build import Request, build

_PACKAGE = Path(__file__).resolve().parent
_SUFFIXES = (".py", ".so", ".lua")


def cached_build(request: Request, cache: Path) -> Path:
    """The module of `request` in `cache`, made if it is not there or outdated. Raises BuildError.

    Outdated means: the build tool, what lies beside it (the SDK, the C extension), or a file in the request's Python
    path has changed.
    """
    name = f"{request.plugin.replace(':', '.')}.{request.target.name}{'.debug' if request.debug else ''}"
    path = cache / f"{name}.{_fingerprint(request)}.wasm"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        for outdated in cache.glob(f"{name}.*.wasm"):
            outdated.unlink()
        partial = path.with_suffix(".partial")
        partial.write_bytes(build(request).module)
        partial.replace(path)
    return path


def _fingerprint(request: Request) -> str:
    digest = hashlib.sha256(repr(request).encode())
    for folder in (_PACKAGE.parent, *request.python_path):
        for path in sorted(path for path in folder.rglob("*") if path.suffix in _SUFFIXES):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
