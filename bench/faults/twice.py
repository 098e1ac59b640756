"""The same run several times, each in a process of its own: what is equal does not hang on a process's memory."""

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from .run import CLIENT_EVERY_MS, FaultRun, Report


@dataclass(frozen=True, slots=True)
class TimedReport:
    report: Report
    cpu_s: float


def play(guest: bytes, seed: int, requests: int, client_every_ms: float) -> TimedReport:
    start_s = time.process_time()
    report = FaultRun(guest, seed, client_every_ms).play(requests)
    return TimedReport(report, time.process_time() - start_s)


def play_repeatedly(
    guest: Path, seed: int, requests: int, runs: int, jobs: int, client_every_ms: float = CLIENT_EVERY_MS
) -> list[TimedReport]:
    """`jobs` of them at a time. Raises BrokenRule."""
    module = guest.read_bytes()  # once: the file may be built anew meanwhile
    with ProcessPoolExecutor(jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
        return [
            future.result()
            for future in [pool.submit(play, module, seed, requests, client_every_ms) for _ in range(runs)]
        ]
