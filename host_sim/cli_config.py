"""`ailb check` and `ailb schema`: a configuration judged and described without a gateway.

The judge is the filter's own code, so this is the one file of the simulator that imports the product.
"""

import json
from pathlib import Path
from typing import Literal

import click
import yaml
from ai_load_balancer.config import ConfigError, parse
from ai_load_balancer.config.schema import json_schema, reference_table
from ai_load_balancer.config.wasm_plugin import plugin_configuration


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--target", type=click.Choice(["higress", "envoy"]), default="higress", show_default=True)
def check(file: Path, target: Literal["higress", "envoy"]) -> None:
    """Say what is wrong with a configuration: JSON or YAML, bare or a WasmPlugin resource."""
    try:
        configuration = plugin_configuration(yaml.safe_load(file.read_text()))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise click.ClickException(f"{file}: {error}") from error
    try:
        found = parse(json.dumps(configuration, default=str).encode(), has_redis=target == "higress")
    except ConfigError as error:
        raise click.ClickException("\n".join([f"{file} cannot be used:", *error.errors])) from error
    for warning in found.warnings:
        click.echo(f"warning: {warning}")
    rules = f"{len(found.rules)} rules, " if found.rules else ""
    click.echo(f"{file} is good: {rules}{'a' if found.default else 'no'} global configuration")


@click.command()
@click.option("--table", is_flag=True, help="Print the reference table in Markdown instead.")
def schema(table: bool) -> None:
    """Print the JSON Schema of a configuration."""
    click.echo(reference_table() if table else json.dumps(json_schema(), indent=2), nl=not table)
