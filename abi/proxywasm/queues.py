"""Shared queues: bytes passed between the VMs of a gateway. RootContext.on_queue_ready tells of arrivals."""

from collections.abc import Callable

from ._host import Text, host

register: Callable[[Text], int] = host.register_shared_queue
"""register(name) -> queue id; makes the queue if need be."""

resolve: Callable[[Text, Text], int | None] = host.resolve_shared_queue
"""resolve(vm_id, name) -> queue id, or None if nobody registered it."""

enqueue: Callable[[int, Text], None] = host.enqueue_shared_queue
dequeue: Callable[[int], bytes | None] = host.dequeue_shared_queue
"""dequeue(queue id) -> the oldest value, or None if the queue is empty."""
