"""Fixtures around the real Envoy. V8 compiles the artifact for seconds, so one Envoy serves all tests of a session."""

import asyncio
from collections.abc import Iterator

import pytest

from host_sim.testing.envoy_config import Cluster, Plugin, bootstrap
from host_sim.testing.envoy_process import run_envoy
from tests.artifacts import require_artifact
from tests.envoy.binaries import NEWEST, require_envoy
from tests.envoy.gateway import Gateway
from tests.envoy.upstreams import Fleet

WORKERS = 2  # more than one, so that the workers must agree on the counts

_READY = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    """The event loop of all upstreams and clients."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session")
def fleet(runner: asyncio.Runner) -> Iterator[Fleet]:
    fleet = Fleet(["a", "b", "c"])
    runner.run(fleet.start())
    yield fleet
    runner.run(fleet.stop())


@pytest.fixture(scope="session")
def plain_gateway(runner: asyncio.Runner, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Envoy without a plugin."""
    config = bootstrap([Cluster("llm", fleet.addresses)])
    with run_envoy(require_envoy(NEWEST), config, tmp_path_factory.mktemp("plain")) as envoy:
        yield Gateway(envoy, fleet, runner)


@pytest.fixture(scope="session")
def gateway(
    runner: asyncio.Runner, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Gateway]:
    """Envoy with the artifact and global_least_request over the fleet."""
    plugin = Plugin(require_artifact("envoy"), plugin_configuration(fleet.addresses))
    config = bootstrap([Cluster("llm", fleet.addresses)], plugin)
    with run_envoy(require_envoy(NEWEST), config, tmp_path_factory.mktemp("gateway"), WORKERS) as envoy:
        line = f"Envoy {NEWEST} with the artifact and {WORKERS} workers: ready after {envoy.ready_s:.1f} s"
        request.config.stash.setdefault(_READY, []).append(line)
        yield Gateway(envoy, fleet, runner)


def plugin_configuration(addresses: list[str]) -> dict[str, object]:
    return {"lb_policy": "global_least_request", "endpoints": addresses}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(_READY, []):
        terminalreporter.write_line(line)
