"""`bench cost`."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from ..modules import DIST
from ..tables import markdown, plain
from .measured import Cost
from .run import costs

_HEADER = ("case", "instructions", "first", "most", "chunk", "tick", "Go", "ratio", "budget")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the part of every callback.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the table of docs/cost.md.")
@click.option("--case", "patterns", metavar="GLOB", multiple=True, help="Only cases with such a name; may be repeated.")
@click.option(
    "--dist",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=DIST,
    help="The folder with the modules; by default the repository's dist.",
)
def cost(as_json: bool, as_markdown: bool, patterns: tuple[str, ...], dist: Path) -> None:
    """Wasm instructions per callback and request of every policy; exit status 1 if a budget is missed."""
    try:
        measured = list(costs(patterns, dist=dist))
    except FileNotFoundError as error:
        raise click.ClickException(str(error)) from error
    if not measured:
        raise click.ClickException(f"no case is like {' or '.join(patterns)}")
    if as_json:
        found = [asdict(item) | {"ratio": item.ratio, "misses": item.misses} for item in measured]
        click.echo(json.dumps(found, indent=2))
    else:
        click.echo((markdown if as_markdown else plain)(_HEADER, [_row(item) for item in measured]))
    missed = [f"{item.name}: {miss}" for item in measured for miss in item.misses]
    for line in missed:
        click.echo(f"missed: {line}", err=True)
    if missed:
        raise SystemExit(1)


def _row(item: Cost) -> tuple[str, ...]:
    ratio = f"{item.ratio:.3f}" if item.ratio is not None else ""
    numbers = (item.instructions, item.first, item.most, item.chunk, item.tick, item.go)
    return (item.name, *map(_number, numbers), ratio, _budget(item))


def _budget(item: Cost) -> str:
    """A ratio where there is something to compare with."""
    return f"{item.limit / item.go:.2f}" if item.limit and item.go else _number(item.limit)


def _number(number: int | None) -> str:
    return "" if number is None else f"{number:,}"
