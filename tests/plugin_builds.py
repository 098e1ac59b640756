"""The plugins in tests/plugins as modules, built when a test needs them and kept in build/ until something changes."""

import functools
from pathlib import Path

from proxywasm_build.build import Request
from proxywasm_build.cache import cached_build
from proxywasm_build.errors import BuildError
from proxywasm_build.targets import TARGETS

PLUGINS = Path(__file__).resolve().parent / "plugins"
CACHE = PLUGINS.parents[1] / "build" / "test-plugins"


def built_plugin(plugin: str, target: str, debug: bool = False) -> Path:
    """The module of `plugin` (MODULE:CLASS) for a target. Raises BuildError."""
    outcome = _outcome(plugin, target, debug)
    if isinstance(outcome, BuildError):
        raise outcome
    return outcome


@functools.cache
def _outcome(plugin: str, target: str, debug: bool) -> Path | BuildError:
    """A plugin that cannot be built is tried once: else every test of it would take as long as a build."""
    try:
        return cached_build(Request(plugin, TARGETS[target], (PLUGINS,), debug=debug), CACHE)
    except BuildError as error:
        return error
