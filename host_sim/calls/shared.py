"""Shared data, shared queues, metrics."""

from typing import TYPE_CHECKING

from .registry import host_call

if TYPE_CHECKING:
    from ..vm import Vm


def _vm_id(vm: "Vm") -> bytes:
    return vm.plugin.vm_id.encode()


@host_call
def get_shared_data(vm: "Vm", key: bytes) -> tuple[bytes, int]:
    return vm.gateway.shared.data.get(_vm_id(vm), key)


@host_call
def set_shared_data(vm: "Vm", key: bytes, value: bytes, cas: int) -> None:
    vm.gateway.shared.data.set(_vm_id(vm), key, value, cas)


@host_call
def register_shared_queue(vm: "Vm", name: bytes) -> int:
    """The plugin that registered last is told about new items."""
    root = vm.effective_root()
    queue_id = vm.gateway.shared.queues.register(_vm_id(vm), name)
    vm.gateway.shared.queues.watch(queue_id, lambda ready_id: vm.queue_ready(root, ready_id))
    return queue_id


@host_call
def resolve_shared_queue(vm: "Vm", vm_id: bytes, name: bytes) -> int:
    return vm.gateway.shared.queues.resolve(vm_id or _vm_id(vm), name)


@host_call
def enqueue_shared_queue(vm: "Vm", queue_id: int, value: bytes) -> None:
    vm.gateway.shared.queues.enqueue(queue_id, value)


@host_call
def dequeue_shared_queue(vm: "Vm", queue_id: int) -> bytes:
    return vm.gateway.shared.queues.dequeue(queue_id)


@host_call
def define_metric(vm: "Vm", metric_type: int, name: bytes) -> int:
    return vm.metric_ids.define(metric_type, name.decode("utf-8", "replace"))


@host_call
def record_metric(vm: "Vm", metric_id: int, value: int) -> None:
    vm.metric_ids.record(metric_id, value)


@host_call
def increment_metric(vm: "Vm", metric_id: int, offset: int) -> None:
    vm.metric_ids.increment(metric_id, offset)


@host_call
def get_metric(vm: "Vm", metric_id: int) -> int:
    return vm.metric_ids.get(metric_id)
