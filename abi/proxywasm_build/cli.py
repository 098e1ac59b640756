"""The command `proxywasm`."""

import json
from pathlib import Path

import click

from .build import Request
from .build import build as build_plugin
from .errors import BuildError
from .inspection import inspect_module
from .plugin import Options
from .stack_guard import CHARGE
from .targets import TARGETS


@click.group()
@click.version_option(package_name="higress-python-filters")
def main() -> None:
    """Builds gateway filters written in Python into WebAssembly modules, and inspects such modules."""


@main.command()
@click.argument("plugin", metavar="MODULE:CLASS")
@click.option("--target", type=click.Choice(sorted(TARGETS)), default="higress", show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Default: MODULE.TARGET.wasm.")
@click.option(
    "-p",
    "--python-path",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    help="A folder in which modules are looked for; repeatable. Default: the current one.",
)
@click.option("--debug", is_flag=True, help="Keep a name section, docstrings, and source lines in tracebacks.")
@click.option("--keep-docstrings", is_flag=True, help="Do not strip docstrings.")
@click.option("--keep-free-heap", is_flag=True, help="Do not zero the free part of the snapshot's heap.")
@click.option("--keep-c-modules", is_flag=True, help="Do not leave out C modules not imported, nor frozen modules.")
@click.option(
    "--stack-charge",
    type=click.IntRange(min=0),
    default=CHARGE,
    show_default=True,
    help="Bytes of shadow stack that a level of C recursion costs; 0 switches the stack guard off.",
)
def build(
    plugin: str,
    target: str,
    output: Path | None,
    python_path: tuple[Path, ...],
    debug: bool,
    keep_docstrings: bool,
    keep_free_heap: bool,
    keep_c_modules: bool,
    stack_charge: int,
) -> None:
    """Builds the plugin class CLASS of module MODULE, a subclass of proxywasm.RootContext."""
    request = Request(
        plugin=plugin,
        target=TARGETS[target],
        python_path=python_path or (Path(),),
        keep_docstrings=keep_docstrings,
        debug=debug,
        options=Options(
            keep_free_heap=keep_free_heap, keep_c_modules=keep_c_modules, keep_names=debug, stack_charge=stack_charge
        ),
    )
    output = output or Path(f"{plugin.partition(':')[0]}.{target}.wasm")
    try:
        linked = build_plugin(request, lambda line: click.echo(line, err=True))
    except BuildError as error:
        raise click.ClickException(str(error)) from error
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(output.name + ".partial")
    partial.write_bytes(linked.module)
    partial.replace(output)
    click.echo(f"{output}: {len(linked.module):,} bytes for {target}")


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(file: Path, as_json: bool) -> None:
    """Tells what a module is: target, ABI markers, imports, exports, sizes, memory, features, validity."""
    try:
        found = inspect_module(file.read_bytes())
    except BuildError as error:
        raise click.ClickException(f"{file}: {error}") from error
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=2))
    else:
        for key, value in found.as_dict().items():
            click.echo(f"{key.replace('_', ' '):14} {_readable(value)}")
    if not found.is_valid:
        raise SystemExit(1)


def _readable(value: object) -> str:
    if isinstance(value, list | tuple):
        return ("\n" + " " * 15).join(map(str, value)) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
