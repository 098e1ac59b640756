"""What happens to the gateway: its endpoints change, its configuration changes, its VMs die and come back."""

import random
from collections import Counter
from collections.abc import Callable

from host_sim import Endpoint
from host_sim.cluster import HEALTHY
from host_sim.setup import configuration_bytes
from host_sim.virtual import VirtualSimulator
from host_sim.vm import Vm

from ..requests import CLUSTER
from .cases import ENDPOINTS, Case

ENDPOINT_CHANGE_EVERY_MS = 300.0
CONFIGURATION_CHANGE_EVERY_MS = 3_000.0
DEATH_EVERY_MS = 7_000.0
LIFE_MS_MIN = 6_000.0  # of a VM from its first request on; longer than Higress waits between two new VMs


class GatewayChaos:
    """The faults of a gateway, until it is `calm`. They happen `by_itself`, or when asked for.

    `on_death` is told of a VM before its requests are gone.
    """

    def __init__(
        self, seed: str, sim: VirtualSimulator, case: Case, on_death: Callable[[Vm], None], by_itself: bool = True
    ) -> None:
        self.calm = False
        self.happened: Counter[str] = Counter()
        self.changed_ms = 0.0  # when the configuration changed for the last time
        self.left_ms: dict[str, float] = {}  # when an endpoint left for the last time
        self._used_since_ms = dict.fromkeys(sim.deployment.vms, 0.0)
        self._is_kept = False
        self._chance = random.Random(seed)
        self._sim = sim
        self._case = case
        self._on_death = on_death
        if by_itself:
            self._again(ENDPOINT_CHANGE_EVERY_MS, self.change_endpoint)
            self._again(CONFIGURATION_CHANGE_EVERY_MS, self.change_configuration)
            self._again(DEATH_EVERY_MS, self.kill_a_vm)

    def keep(self) -> None:
        """From now on no VM dies, and the configuration is the first one: no leak is forgotten with its owner."""
        self._is_kept = True
        self._configure(0)

    def note_use(self, vm: Vm) -> None:
        """The VM has got a request."""
        self._used_since_ms.setdefault(vm, self._sim.now_ms)

    def end(self) -> None:
        """All endpoints are there and healthy."""
        self.calm = True
        self.restore_endpoints()

    def restore_endpoints(self) -> None:
        for name, addresses in self._case.clusters.items():
            self._sim.gateway.clusters[name].endpoints = [Endpoint(address) for address in addresses]

    def _again(self, every_ms: float, happen: Callable[[], None]) -> None:
        def once() -> None:
            if not self.calm:
                happen()
                self._sim.scheduler.call_later(every_ms, once)

        self._sim.scheduler.call_later(every_ms, once)

    def change_endpoint(self) -> None:
        """One becomes unhealthy, leaves, or is back; the first one stays."""
        if self._case.picks_services:
            return
        cluster = self._sim.gateway.clusters[CLUSTER]
        address = self._chance.choice(ENDPOINTS[1:])
        others = [endpoint for endpoint in cluster.endpoints if endpoint.address != address]
        found = cluster.find(address)
        if found is None or found.health != HEALTHY:
            others.insert(self._chance.randrange(len(others) + 1), Endpoint(address))
            self.happened["an endpoint came back"] += 1
        elif self._chance.random() < 0.5:
            others.append(Endpoint(address, "Unhealthy"))
            self.happened["an endpoint became unhealthy"] += 1
        else:
            self.left_ms[address] = self._sim.now_ms
            self.happened["an endpoint left"] += 1
        cluster.endpoints = others

    def change_configuration(self) -> None:
        if not self._is_kept:
            self.happened["the configuration changed"] += 1
            self._configure(self.happened["the configuration changed"])

    def _configure(self, version: int) -> None:
        self.changed_ms = self._sim.now_ms
        configuration = configuration_bytes(self._case.configuration(version))
        for vm in self._sim.deployment.vms:
            if vm.root is not None and not vm.is_dead() and not vm.configure(vm.root, configuration):
                raise AssertionError(f"the plugin refuses {configuration!r}")

    def kill_a_vm(self) -> None:
        """A VM dies, and takes along all its requests; the next request makes a new one."""
        vm = self._chance.choice(self._sim.deployment.workers).vm
        now_ms = self._sim.now_ms
        if self._is_kept or vm.is_dead() or now_ms - self._used_since_ms.get(vm, now_ms) < LIFE_MS_MIN:
            return
        self.happened["a VM died"] += 1
        vm.die("a fault of the run")
        self._on_death(vm)
        for request in [*self._sim.open_requests.values()]:
            if request.stream.vm is vm:
                request.leave()
