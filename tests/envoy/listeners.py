"""One Envoy with a listener for each configuration of the filter: V8 compiles the module once for all of them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from host_sim.testing.envoy_config import Cluster, Listener, Plugin, bootstrap
from host_sim.testing.envoy_process import run_envoy
from tests.artifacts import require_artifact
from tests.envoy.binaries import NEWEST, require_envoy
from tests.envoy.conftest import WORKERS
from tests.envoy.gateway import Client, Gateway
from tests.envoy.upstreams import WAIT_TIMEOUT_S, Fleet

VM_ID = "ai-load-balancer"


@contextmanager
def run_gateways(
    runner: asyncio.Runner,
    fleet: Fleet,
    directory: Path,
    configurations: Mapping[str, Mapping[str, object]],
    clusters: Mapping[str, list[str]],
    **plugin_options: Any,
) -> Iterator[dict[str, Gateway]]:
    """A gateway for each configuration, by its name. The fleet is the cluster `llm`; `clusters` are further ones."""
    module = require_artifact("envoy")
    listeners = [
        Listener(name, [Plugin(module, configuration, name=name, vm_id=VM_ID, **plugin_options)])
        for name, configuration in configurations.items()
    ]
    all_clusters = [Cluster("llm", fleet.addresses), *(Cluster(name, hosts) for name, hosts in clusters.items())]
    config = bootstrap(all_clusters, listeners=listeners)
    with run_envoy(require_envoy(NEWEST), config, directory, WORKERS) as envoy:
        yield {name: Gateway(replace(envoy, listener=name), fleet, runner) for name in configurations}


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Asks until it holds. What is asked sends requests, so each answer takes a moment."""
    try:
        async with asyncio.timeout(WAIT_TIMEOUT_S):
            while not await holds():
                pass
    except TimeoutError:
        raise AssertionError(f"still not so after {WAIT_TIMEOUT_S:.0f} s") from None


async def served_by(client: Client, requests: int = 8) -> set[str | None]:
    """Who serves requests that each have a connection of their own, so that all workers get some; None: a failure."""
    answers = [await client.request(headers={"connection": "close"}) for _ in range(requests)]
    return {answer.upstream if answer.status == 200 else None for answer in answers}
