"""python -m bench [cost|memory] [--json]: exit status 1 if a budget is exceeded or a memory grows."""

import json
from dataclasses import asdict

import click

from .cost import GO_REQUEST, Cost, costs
from .memory import HOST_CALLS, REQUESTS, Growth, growths


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """What requests cost; without a command, all that is measured."""
    if context.invoked_subcommand is None:
        context.invoke(cost, as_json=False)
        context.invoke(memory, host_calls=HOST_CALLS, requests=REQUESTS, as_json=False)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def cost(as_json: bool) -> None:
    """Wasm instructions per callback, host call and request."""
    measured = list(costs())
    if as_json:
        click.echo(json.dumps([asdict(item) for item in measured], indent=2))
    else:
        for item in measured:
            click.echo(_cost_line(item))
    if not all(item.is_within_budget for item in measured):
        raise SystemExit(1)


@main.command()
@click.option("--host-calls", default=HOST_CALLS, show_default=True)
@click.option("--requests", default=REQUESTS, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def memory(host_calls: int, requests: int, as_json: bool) -> None:
    """The guest's memory over many host calls and requests."""
    measured = list(growths(host_calls, requests))
    if as_json:
        click.echo(json.dumps([asdict(item) for item in measured], indent=2))
    else:
        for item in measured:
            click.echo(_growth_line(item))
    if not all(item.is_flat for item in measured):
        raise SystemExit(1)


def _cost_line(item: Cost) -> str:
    line = f"{item.name:45} {item.instructions:>9,} instructions"
    if item.budget is not None:
        line += f"   budget {item.budget:,}{'' if item.is_within_budget else ': EXCEEDED'}"
    if item.name.startswith("one request"):
        line += f"   {item.instructions / GO_REQUEST:.2f} of the Go plugin's"
    return line


def _growth_line(item: Growth) -> str:
    pages = f"{item.pages_at_start} -> {item.pages_warm} -> {item.pages_at_end} pages"
    return f"{item.name:45} {pages}{'' if item.is_flat else ': GROWS'}"


if __name__ == "__main__":
    main()
