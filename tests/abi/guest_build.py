"""Builds the guests of these tests: one Python module of the folder `guest` above the C extension, without the SDK."""

import shutil
import tempfile
from pathlib import Path

from proxywasm_build.componentize import componentize

REPOSITORY = Path(__file__).resolve().parents[2]
NATIVE = REPOSITORY / "abi" / "native"
LIBRARY = NATIVE / "_proxywasm.abi3.so"
GUESTS = Path(__file__).resolve().parent / "guest"

_ENTRY = """\
import random  # the runtime needs it after the snapshot
import wit_world
import {module}

class WitWorld(wit_world.WitWorld):
    def initialise(self) -> None:
        pass
"""


def build_guest(module: str, **settings: object) -> bytes:
    """The component of guest/<module>.py, which imports `settings`. Raises BuildError with the guest's traceback."""
    with tempfile.TemporaryDirectory() as folder:
        sources, workspace = Path(folder, "sources"), Path(folder, "work")
        sources.mkdir()
        workspace.mkdir()
        shutil.copy(LIBRARY, sources)
        shutil.copy(GUESTS / f"{module}.py", sources)
        (sources / "settings.py").write_text("".join(f"{name} = {value!r}\n" for name, value in settings.items()))
        (sources / "proxywasm_entry.py").write_text(_ENTRY.format(module=module))
        return componentize(sources, workspace)
