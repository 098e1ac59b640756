"""`proxywasm build`: from a plugin's sources to the file that a gateway loads."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .componentize import componentize
from .errors import BuildError
from .inspection import problems
from .plugin import Linked, Options, link_plugin
from .sources import copy_sources
from .targets import Target


@dataclass(frozen=True, slots=True)
class Request:
    """What to build. `plugin` is MODULE:CLASS; modules are looked for in `python_path`."""

    plugin: str
    target: Target
    python_path: tuple[Path, ...]
    keep_docstrings: bool = False
    debug: bool = False
    options: Options = field(default_factory=Options)


def build(request: Request, report: Callable[[str], None] = lambda line: None) -> Linked:
    """Builds a plugin; `report` gets a line per stage. Raises BuildError."""
    module, _, class_name = request.plugin.partition(":")
    if not module or not class_name:
        raise BuildError(f"a plugin is named MODULE:CLASS, as in my_filter:MyPlugin; found {request.plugin!r}")
    stage = _Stages(report)
    with tempfile.TemporaryDirectory(prefix="proxywasm-") as folder:
        sources, workspace = Path(folder, "sources"), Path(folder, "work")
        sources.mkdir()
        workspace.mkdir()
        with stage("copy the sources") as note:
            packages = copy_sources(
                request.plugin,
                request.target.name,
                request.python_path,
                sources,
                request.keep_docstrings or request.debug,
                request.debug,
            )
            note(", ".join(packages))
        with stage("import and snapshot (componentize-py)") as note:
            component = componentize(sources, workspace)
            note(_megabytes(component))
    with stage("link") as note:
        linked = link_plugin(component, request.target, request.options)
        note(f"{_megabytes(linked.module)}, C modules left out: {', '.join(linked.pruned_modules) or 'none'}")
    with stage("check"):
        found = list(problems(linked.module, request.target))
        if found:
            raise BuildError("\n".join([f"a {request.target.name} gateway would not load the module:", *found]))
    return linked


class _Stages:
    """Reports each stage with its time when it has ended well."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report

    @contextmanager
    def __call__(self, name: str) -> Iterator[Callable[[str], None]]:
        notes: list[str] = []
        start = time.perf_counter()
        yield notes.append
        self._report(f"{name}: {time.perf_counter() - start:.1f} s{''.join(f' ({note})' for note in notes)}")


def _megabytes(data: bytes) -> str:
    return f"{len(data) / 1e6:.1f} MB"
