"""`ailb bench`: the measurements, which are in the repository and not in an installed package."""

import click

_IN_CHECKOUT = "the benchmarks are in the repository only: run this in a checkout"


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}, add_help_option=False
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> None:
    """Measure what requests cost (in a checkout)."""
    try:
        from bench.__main__ import main
    except ModuleNotFoundError as error:
        if error.name not in ("bench", "bench.__main__"):
            raise
        raise click.ClickException(_IN_CHECKOUT) from error
    main(args=list(arguments), prog_name="ailb bench")
