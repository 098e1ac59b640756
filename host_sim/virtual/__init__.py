"""Whole requests in virtual time: clients, upstreams and Redis are scripts whose delays are events of one heap.

    scheduler = ManualScheduler()
    redis = TimedRedis(MemoryRedis(scheduler.realtime_ns), scheduler, latency_ms=lambda: 0.5)
    with VirtualSimulator("plugin.wasm", clusters={"llm": ["10.0.0.1:80"]}, redis={"redis": redis},
                          scheduler=scheduler, seed=7) as sim:
        sim.send(Client("POST", "/v1/chat", body=(b"{", 5.0, b"}"), gives_up_ms=30_000))
        sim.run()
        sim.finish()

Nothing sleeps and nothing is awaited, and a run repeats from its seed. With `ManualScheduler(pace=Pace())` the same run
is played at the speed of real time.
"""

from .client import Client, Request
from .recording import Recording
from .redis import CommandFault, TimedRedis
from .simulator import VirtualSimulator
from .upstream import AFTER_REQUEST, Step, TimedUpstream, UpstreamFault, answer

__all__ = [
    "AFTER_REQUEST",
    "Client",
    "CommandFault",
    "Recording",
    "Request",
    "Step",
    "TimedRedis",
    "TimedUpstream",
    "UpstreamFault",
    "VirtualSimulator",
    "answer",
]
