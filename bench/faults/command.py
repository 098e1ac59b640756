"""`bench faults`."""

import secrets
from collections.abc import Sequence

import click

from ..modules import artifact
from .cases import CASES, POLICIES
from .rules import BrokenRule
from .twice import TimedReport, play_repeatedly

REQUESTS = 100_000


@click.command()
@click.option("--policy", "policies", type=click.Choice(POLICIES), multiple=True, help="May be repeated; default: all.")
@click.option("--requests", default=REQUESTS, show_default=True, help="Of all cases together.")
@click.option("--seed", type=int, help="Of everything that is drawn; chosen and printed if it is not given.")
@click.option("--runs", default=2, show_default=True, help="Of the same seed; their traces must be equal.")
@click.option("--jobs", default=1, show_default=True, help="Runs at a time.")
def faults(policies: tuple[str, ...], requests: int, seed: int | None, runs: int, jobs: int) -> None:
    """Requests in virtual time, with clients, upstreams, Redis and the gateway failing; then rules that must hold."""
    cases = [case for case in CASES.values() if case.policy in (policies or POLICIES)]
    seed = secrets.randbits(32) if seed is None else seed
    click.echo(f"seed {seed}: {requests:,} requests, shared by {len(cases)} cases of {runs} runs each")
    try:
        guests = {target: artifact(target) for target in {case.target for case in cases}}
        played = play_repeatedly(guests, cases, seed, requests, runs, jobs)
    except FileNotFoundError as error:
        raise click.ClickException(str(error)) from error
    except BrokenRule as error:
        raise click.ClickException("\n".join([f"a rule is broken: {error}", *error.__notes__])) from error
    for runs_of_case in played:
        _print(runs_of_case)
    if any(len({item.report.digest for item in runs_of_case}) > 1 for runs_of_case in played):
        raise click.ClickException("the runs differ")
    click.echo("every rule holds")


def _print(runs: Sequence[TimedReport]) -> None:
    report = runs[0].report
    click.echo(f"\n{report.case}: {report.requests:,} requests, {report.virtual_s:,.0f} s of virtual time")
    for title, counts in (("faults", report.faults), ("requests", report.outcomes), ("decisions", report.decisions)):
        click.echo(f"{title}:")
        for name, count in sorted(counts.items(), key=lambda pair: -pair[1]):
            click.echo(f"  {count:>9,} {name}")
    pages = f"{report.memory_pages_warm} -> {report.memory_pages} pages of memory"
    click.echo(f"held at most {report.held_ms_most:.0f} ms; {pages}")
    for item in runs:
        of_cpu = f"{item.cpu_s:.1f} s of CPU"
        click.echo(f"trace {item.report.digest} of {item.report.crossings:,} crossings, {of_cpu}")
