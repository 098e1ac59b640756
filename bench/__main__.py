"""python -m bench [cost|memory|throughput|faults|redis]: exit status 1 if a budget is missed or a rule is broken."""

import json
from dataclasses import asdict

import click

from .cost.command import cost
from .faults.command import faults
from .memory import HOST_CALLS, REQUESTS, Growth, growths
from .modules import artifact
from .server_time.command import server_time
from .throughput import BUDGET_PER_S
from .throughput import REQUESTS as THROUGHPUT_REQUESTS
from .throughput import throughput as measure_throughput


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """What requests cost; without a command, all that is measured, but not the long run with faults."""
    if context.invoked_subcommand is None:
        results = [_passes(context, command) for command in (cost, server_time, memory, throughput)]
        if not all(results):
            raise SystemExit(1)


def _passes(context: click.Context, command: click.Command) -> bool:
    """Whether a measurement misses no budget; the next one runs anyway."""
    try:
        context.invoke(command)
    except SystemExit:
        return False
    return True


main.add_command(cost)
main.add_command(faults)
main.add_command(server_time)


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


@main.command()
@click.option("--requests", default=THROUGHPUT_REQUESTS, show_default=True)
def throughput(requests: int) -> None:
    """Whole requests per second of CPU, in virtual time, with a scripted Redis."""
    measured = measure_throughput(artifact("higress"), requests)
    click.echo(
        f"{measured.requests:,} chat requests, up to {measured.at_once_max} at once: {measured.cpu_s:.2f} s of CPU,"
        f" {measured.per_s:,.0f} requests per second   budget {BUDGET_PER_S:,}"
        f"{'' if measured.is_within_budget else ': MISSED'}"
    )
    if not measured.is_within_budget:
        raise SystemExit(1)


def _growth_line(item: Growth) -> str:
    pages = f"{item.pages_at_start} -> {item.pages_warm} -> {item.pages_at_end} pages"
    return f"{item.name:45} {pages}{'' if item.is_flat else ': GROWS'}"


if __name__ == "__main__":
    main()
