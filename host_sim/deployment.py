"""The VMs that a gateway runs for its plugins, as Envoy makes them.

From the module a base VM is made, which runs `_initialize` and nothing else. For every plugin a canary is started,
configured and thrown away; then the main thread gets a VM, and each worker one: each runs `_initialize`, on_vm_start
and on_configure, and has its own ticks. Plugins with the same guest, vm_id and vm_configuration share the VM of a
thread. Requests are served by the workers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from proxywasm.enums import LogLevel

from .abi import Target
from .clock import NANOSECONDS_PER_MS
from .connection import TcpConnection
from .contexts import RootContext
from .errors import LeftoverError, LoadError
from .gateway import Gateway, Plugin
from .guest import GuestFactory
from .records import LogRecord
from .setup import finish_vm, guest_factory
from .stream import HttpStream
from .vm import Vm

HIGRESS_RECOVERY_INTERVAL_MS = 5_000  # MIN_RECOVER_INTERVAL_SECONDS of its Envoy; the first recovery is at once

VmKey: TypeAlias = tuple[int, str, bytes]


@dataclass(frozen=True, slots=True)
class Link:
    """A plugin in the chain and what makes its guests."""

    plugin: Plugin
    factory: GuestFactory

    @property
    def vm_key(self) -> VmKey:
        return id(self.factory), self.plugin.vm_id, self.plugin.vm_configuration


def make_links(guest: GuestFactory, plugin: Plugin, chain: Sequence[Plugin], fuel: bool = False) -> list[Link]:
    """`plugin`, run by `guest`, and those that follow it; a plugin that names no guest is run by the same."""
    links = [Link(plugin, guest)]
    for following in chain:
        links.append(Link(following, guest_factory(following.guest, fuel) if following.guest is not None else guest))
    return links


@dataclass(slots=True)
class _Serving:
    """A plugin of one thread; `renewed_ns` is None until Higress has made a new VM for it."""

    link: Link
    root: RootContext
    started_ns: int
    renewed_ns: int | None = None


class Thread:
    """The VMs of one thread. LoadError if a plugin does not start."""

    def __init__(self, name: str, links: Sequence[Link], target: Target, gateway: Gateway) -> None:
        self.name = name
        self.target: Target = target
        self.gateway = gateway
        self._vms: dict[VmKey, Vm] = {}
        self._retired: list[Vm] = []  # replaced ones, until their streams have ended
        self._serving: list[_Serving] = []
        try:
            for link in links:
                self._serving.append(_Serving(link, self._start(link), gateway.scheduler.monotonic_ns()))
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<thread {self.name}: {', '.join(map(repr, self.vms))}>"

    @property
    def vms(self) -> list[Vm]:
        """Those that serve now, each once, in the order of the chain."""
        return list(dict.fromkeys(serving.root.vm for serving in self._serving))

    @property
    def vm(self) -> Vm:
        """Of the first plugin."""
        return self._serving[0].root.vm

    def open_stream(self) -> HttpStream:
        return HttpStream(self.gateway, self._chain())

    def open_connection(self) -> TcpConnection:
        return TcpConnection(self.gateway, self._chain())

    def finish(self) -> None:
        """End the plugins; LeftoverError if anything is open, paused or pending."""
        left = list(_leftovers([*self._retired, *self.vms]))
        if left:
            raise LeftoverError(f"{self.name}: " + "; ".join(left))

    def close(self) -> None:
        for vm in {*self._retired, *self._vms.values(), *self.vms}:
            vm.close()

    def _start(self, link: Link) -> RootContext:
        """In the VM that the thread has for it, or in a new one."""
        vm = self._vms.get(link.vm_key)
        if vm is not None and not vm.is_dead():
            known = [root for root in vm.roots if root.plugin == link.plugin]
            return known[0] if known else vm.add_plugin(link.plugin)
        vm = self._vms[link.vm_key] = Vm(link.factory, self.target, link.plugin, self.gateway)
        return vm.start()

    def _chain(self) -> list[RootContext]:
        for serving in self._serving:
            if self._is_renewal_due(serving):
                self._renew(serving)
        self._close_retired()
        return [serving.root for serving in self._serving]

    def _is_renewal_due(self, serving: _Serving) -> bool:
        vm, plugin = serving.root.vm, serving.link.plugin
        now_ns = self.gateway.scheduler.monotonic_ns()
        if self.target == "higress":
            since, pause_ms = serving.renewed_ns, HIGRESS_RECOVERY_INTERVAL_MS
            wanted = vm.is_dead() or vm.rebuild_wanted
        else:
            since, pause_ms = serving.started_ns, plugin.reload_backoff_ms
            wanted = vm.is_dead() and plugin.failure_policy == "FAIL_RELOAD"
        return wanted and (since is None or now_ns - since >= pause_ms * NANOSECONDS_PER_MS)

    def _renew(self, serving: _Serving) -> None:
        """If the new VM does not start, the old one stays, and it is tried again after the same pause."""
        serving.started_ns = serving.renewed_ns = self.gateway.scheduler.monotonic_ns()
        old, key = serving.root.vm, serving.link.vm_key
        if self._vms.get(key) is old:
            del self._vms[key]
        try:
            serving.root = self._start(serving.link)
        except LoadError as error:
            failed = self._vms.pop(key, None)
            if failed is not None:
                failed.close()
            self.gateway.logs.append(LogRecord(LogLevel.ERROR, f"the plugin cannot be reloaded: {error}", 0))
            return
        if old not in self.vms:
            self._retired.append(old)

    def _close_retired(self) -> None:
        for vm in [vm for vm in self._retired if len(vm.contexts) <= len(vm.roots)]:
            self._retired.remove(vm)
            vm.finish()
            vm.close()


class Deployment:
    """`workers` None: one worker's VMs and no others, which is enough for most tests and the cheapest."""

    def __init__(self, links: Sequence[Link], target: Target, gateway: Gateway, workers: int | None = None) -> None:
        self.base: list[Vm] = []
        self.main: Thread | None = None
        self.workers: list[Thread] = []
        try:
            if workers is not None:
                distinct = {link.vm_key: link for link in links}
                self.base = [Vm(link.factory, target, link.plugin, gateway) for link in distinct.values()]
                for link in links:
                    Thread("canary", [link], target, gateway).close()
                self.main = Thread("main", links, target, gateway)
            for number in range(1 if workers is None else workers):
                self.workers.append(Thread(f"worker_{number}", links, target, gateway))
        except BaseException:
            self.close()
            raise

    @property
    def vm(self) -> Vm:
        """Of the first worker's first plugin."""
        return self.workers[0].vm

    @property
    def threads(self) -> list[Thread]:
        return ([self.main] if self.main is not None else []) + self.workers

    @property
    def vms(self) -> list[Vm]:
        return [vm for thread in self.threads for vm in thread.vms]

    @property
    def pending_calls(self) -> int:
        """Of VMs that live."""
        return sum(vm.pending_calls for vm in self.vms if not vm.is_dead())

    def finish(self) -> None:
        """End the plugins; LeftoverError if anything is open, paused or pending."""
        left = []
        for thread in self.threads:
            try:
                thread.finish()
            except LeftoverError as error:
                left.append(str(error))
        if left:
            raise LeftoverError("; ".join(left))

    def close(self) -> None:
        for thread in self.threads:
            thread.close()
        for vm in self.base:
            vm.close()
        self.base = []


def _leftovers(vms: Sequence[Vm]) -> Iterator[str]:
    for vm in vms:
        try:
            finish_vm(vm)
        except LeftoverError as error:
            yield str(error)
