"""The commands that the filter sends to Redis, taken from the plugin itself: no script's arguments are known here."""

from typing import NamedTuple

from proxywasm.enums import LogLevel

from host_sim import SteppedRedis, SteppedSimulator
from host_sim.codec import RespError

from ..cost.cases import HASH_HEADER, REDIS_CLUSTER, services
from .cases import Case

PLUGIN = "ai_load_balancer.plugin:AiLoadBalancer"
_CLUSTER = "outbound|80||llm.static"
_CLUSTER_HEADER = "x-higress-target-cluster"
_HEADERS = {
    ":method": "POST",
    ":path": "/v1/chat/completions",
    ":authority": "llm.example",
    "content-type": "application/json",
}


class Lease(NamedTuple):
    """The command that asks for one, and the one that gives it back."""

    acquire: list[bytes]
    release: list[bytes]


class Source:
    """Makes leases of one case. `scripts` are the sources of all scripts that they run."""

    def __init__(self, case: Case) -> None:
        self.scripts: list[bytes] = []
        self._case = case
        self._made = 0
        chooses_cluster = case.policy.startswith("cluster_")
        endpoints = [f"10.0.{i // 250}.{i % 250 + 1}:8000" for i in range(case.endpoints)]
        clusters = {name: ["10.0.0.1:8000"] for name in services(case.endpoints)}
        self._sim = SteppedSimulator(
            PLUGIN,
            "higress",
            {
                "lb_policy": case.policy,
                "lb_type": "cluster" if chooses_cluster else "endpoint",
                "lb_config": dict(case.lb_config),
            },
            clusters if chooses_cluster else {_CLUSTER: endpoints},
            {REDIS_CLUSTER: SteppedRedis()},
            log_level=LogLevel.WARN,
            cluster_header=_CLUSTER_HEADER if chooses_cluster else "",
        )
        self._lease(is_first=True)

    def close(self) -> None:
        self._sim.close()

    def leases(self, number: int) -> list[Lease]:
        """Leases that were not there before."""
        return [self._lease() for _ in range(number)]

    def _lease(self, is_first: bool = False) -> Lease:
        self._made += 1
        stream = self._sim.open_stream()
        stream.request_headers({**_HEADERS, HASH_HEADER: f"consumer-{self._made}"}, end_of_stream=False)
        stream.request_body(self._case.body(self._made), end_of_stream=True)
        acquire = self._command(is_first)
        self._sim.deliver_redis([1, 1, self._case.blocks] if self._case.blocks else [1, 1])
        stream.response_headers({":status": "200"}, end_of_stream=True)
        release = self._command(is_first)
        self._sim.deliver_redis(1)
        return Lease(acquire, release)

    def _command(self, is_first: bool) -> list[bytes]:
        """What waits for a reply. At first Redis does not know the script, and the filter sends its source."""
        [command] = self._sim.redis_commands()
        if is_first:
            self._sim.deliver_redis(RespError("NOSCRIPT No matching script."))
            [with_source] = self._sim.redis_commands()
            self.scripts.append(with_source[1])
        return command
