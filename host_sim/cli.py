"""The command `ailb`."""

import asyncio
import logging
import sys
from pathlib import Path

import click

from .cli_bench import bench
from .cli_config import check, schema
from .errors import SimulatorError
from .live import load_config
from .live.serve import serve as run_gateway
from .live.serve import serve_models


@click.group()
def main() -> None:
    """Run LLM load balancing without a gateway: the very .wasm, real requests, a page to watch it."""


main.add_command(bench)
main.add_command(check)
main.add_command(schema)


@main.command()
@click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("gateway.yaml"),
    show_default=True,
    help="What to listen on, the plugin, routes, clusters, Redis.",
)
@click.option("--watch", is_flag=True, help="Use the configuration or the .wasm anew when its file changes.")
@click.option("--check", is_flag=True, help="Only say whether the configuration is good.")
def serve(path: Path, watch: bool, check: bool) -> None:
    """Run a gateway on loopback that sends requests through a plugin."""
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s")
    try:
        if check:
            load_config(path)
            click.echo(f"{path} is good")
        else:
            asyncio.run(run_gateway(path, watch, _say))
    except (SimulatorError, OSError) as error:
        raise click.ClickException(str(error)) from error


@main.command("model-server")
@click.option("--port", "ports", type=click.IntRange(0, 65535), multiple=True, default=(0,), help="May be repeated.")
@click.option("--token-interval-ms", type=click.FloatRange(0, 60_000), default=20.0, show_default=True)
def model_server(ports: tuple[int, ...], token_interval_ms: float) -> None:
    """Run stand-in model servers: OpenAI-style replies, streamed or whole, and vLLM-style /metrics."""
    try:
        asyncio.run(serve_models(ports, token_interval_ms / 1000, _say))
    except OSError as error:
        raise click.ClickException(str(error)) from error


def _say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main()
