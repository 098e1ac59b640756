"""The same run several times, each in a process of its own: what is equal does not hang on a process's memory."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from host_sim.abi import Target

from .cases import CASES, Case
from .run import CLIENT_EVERY_MS, FaultRun, Report


@dataclass(frozen=True, slots=True)
class TimedReport:
    report: Report
    cpu_s: float


def play(guest: bytes, seed: int, requests: int, client_every_ms: float, case: str) -> TimedReport:
    start_s = time.process_time()
    report = FaultRun(guest, seed, client_every_ms, case=CASES[case]).play(requests)
    return TimedReport(report, time.process_time() - start_s)


def play_repeatedly(
    guests: Mapping[Target, Path],
    cases: Sequence[Case],
    seed: int,
    requests: int,
    runs: int,
    jobs: int,
    client_every_ms: float = CLIENT_EVERY_MS,
) -> list[list[TimedReport]]:
    """For every case its runs, `jobs` processes at a time. `requests` are shared by the cases. Raises BrokenRule."""
    # Read once: the files may be built anew meanwhile.
    modules = {target: guests[target].read_bytes() for target in {case.target for case in cases}}
    each = -(-requests // len(cases))
    with ProcessPoolExecutor(jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
        played = [
            [pool.submit(play, modules[case.target], seed, each, client_every_ms, case.name) for _ in range(runs)]
            for case in cases
        ]
        return [[future.result() for future in futures] for futures in played]
