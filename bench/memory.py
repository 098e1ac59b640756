"""The guest's memory over many host calls and many requests: it must stop growing.

The linear memory never shrinks, so growth after the first part of a run is a leak.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from host_sim import SteppedRedis, SteppedSimulator

from .modules import artifact, plugin
from .plugins.probe import REPEATS
from .requests import CLUSTER, ENDPOINTS, HEADERS, HIGRESS_CONFIG, REDIS, play

HOST_CALLS = 1_000_000
REQUESTS = 100_000
WARM_UP_SHARE = 10  # a tenth of the run may still grow

PAGE_SIZE = 65536


@dataclass(frozen=True, slots=True)
class Growth:
    """Pages of 64 KiB after the start, after the warm-up, at the end."""

    name: str
    pages_at_start: int
    pages_warm: int
    pages_at_end: int

    @property
    def is_flat(self) -> bool:
        return self.pages_at_end == self.pages_warm


def growths(host_calls: int = HOST_CALLS, requests: int = REQUESTS) -> Iterator[Growth]:
    """Both runs, scaled to the given numbers."""
    sim = SteppedSimulator(plugin("probe"), clusters={CLUSTER: ENDPOINTS})
    for work in ("set_property", "get_header"):

        def one_stream(work: str = work) -> None:
            stream = sim.open_stream()
            stream.request_headers({**HEADERS, "x-work": work}, end_of_stream=False)
            stream.request_body(b"{}")
            stream.abort()

        yield _run(f"{host_calls:,} x {work}", sim, one_stream, host_calls // REPEATS)
    sim.close()
    redis = SteppedRedis()
    sim = SteppedSimulator(
        artifact("higress"), "higress", HIGRESS_CONFIG, {CLUSTER: ENDPOINTS}, {REDIS: redis}, log_level=2
    )
    yield _run(f"{requests:,} requests of global_least_request", sim, lambda: play(sim, redis), requests)
    sim.close()


def _run(name: str, sim: SteppedSimulator, once: Callable[[], object], times: int) -> Growth:
    pages = [_pages(sim)]
    for part in (times // WARM_UP_SHARE, times - times // WARM_UP_SHARE):
        for _ in range(part):
            once()
        pages.append(_pages(sim))
    return Growth(name, *pages)


def _pages(sim: SteppedSimulator) -> int:
    size = sim.vm.guest.memory_size
    assert size is not None  # a wasm guest has a memory
    return size // PAGE_SIZE
