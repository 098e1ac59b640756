"""What the VMs of one gateway share: data with compare-and-swap, queues, metrics."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from proxywasm.enums import MetricType, Status

from .errors import HostCallError

QUEUE_ITEMS_MAX = 100_000
METRICS_MAX = 100_000
SHARED_KEYS_MAX = 1_000_000
_TYPE_BITS = 2  # the low bits of a metric id hold its type
_U64 = 0xFFFF_FFFF_FFFF_FFFF


class SharedData:
    """Values with a CAS counter, scoped by vm_id. The counter is never 0: 0 means "unconditional" to the guest."""

    def __init__(self) -> None:
        self._values: dict[tuple[bytes, bytes], tuple[bytes, int]] = {}
        self._next_cas = 0

    def get(self, vm_id: bytes, key: bytes) -> tuple[bytes, int]:
        try:
            return self._values[vm_id, key]
        except KeyError:
            raise HostCallError(Status.NOT_FOUND, f"no shared data under {key!r}") from None

    def set(self, vm_id: bytes, key: bytes, value: bytes, cas: int) -> None:
        """A non-zero `cas` must be the current one, unless the key is missing: then it is not looked at."""
        current = self._values.get((vm_id, key))
        if cas and current is not None and current[1] != cas:
            raise HostCallError(Status.CAS_MISMATCH, f"cas {cas}, the current one is {current[1]}")
        if current is None and len(self._values) >= SHARED_KEYS_MAX:
            raise HostCallError(Status.INTERNAL_FAILURE, f"more than {SHARED_KEYS_MAX} keys")
        self._next_cas = self._next_cas % 0xFFFF_FFFF + 1
        self._values[vm_id, key] = (value, self._next_cas)

    def items(self, vm_id: bytes) -> dict[bytes, bytes]:
        return {key: value for (scope, key), (value, _) in self._values.items() if scope == vm_id}


class SharedQueues:
    """FIFO queues, named within a vm_id; ids begin at 1."""

    def __init__(self) -> None:
        self._ids: dict[tuple[bytes, bytes], int] = {}
        self._queues: dict[int, deque[bytes]] = {}
        self._watchers: dict[int, Callable[[int], None]] = {}

    def register(self, vm_id: bytes, name: bytes) -> int:
        queue_id = self._ids.setdefault((vm_id, name), len(self._ids) + 1)
        self._queues.setdefault(queue_id, deque())
        return queue_id

    def watch(self, queue_id: int, on_ready: Callable[[int], None]) -> None:
        """The last who registered is told when something was put in."""
        self._watchers[queue_id] = on_ready

    def resolve(self, vm_id: bytes, name: bytes) -> int:
        try:
            return self._ids[vm_id, name]
        except KeyError:
            raise HostCallError(Status.NOT_FOUND, f"no queue {name!r}") from None

    def enqueue(self, queue_id: int, value: bytes) -> None:
        queue = self._queue(queue_id)
        if len(queue) >= QUEUE_ITEMS_MAX:
            raise HostCallError(Status.INTERNAL_FAILURE, f"the queue holds {QUEUE_ITEMS_MAX} items")
        queue.append(value)
        on_ready = self._watchers.get(queue_id)
        if on_ready is not None:
            on_ready(queue_id)

    def dequeue(self, queue_id: int) -> bytes:
        queue = self._queue(queue_id)
        if not queue:
            raise HostCallError(Status.EMPTY, f"queue {queue_id}")
        return queue.popleft()

    def size(self, queue_id: int) -> int:
        return len(self._queue(queue_id))

    def _queue(self, queue_id: int) -> deque[bytes]:
        try:
            return self._queues[queue_id]
        except KeyError:
            raise HostCallError(Status.NOT_FOUND, f"no queue {queue_id}") from None


@dataclass(slots=True)
class Metric:
    name: str
    type: MetricType
    value: int = 0
    samples: deque[int] = field(default_factory=lambda: deque(maxlen=1000))  # of a histogram, the newest


class Metrics:
    """Counters, gauges and histograms by type and name: one each for all VMs."""

    def __init__(self) -> None:
        self._metrics: dict[tuple[MetricType, str], Metric] = {}

    def find(self, metric_type: MetricType, name: str) -> Metric:
        """Made when it is asked for the first time."""
        found = self._metrics.get((metric_type, name))
        if found is None:
            if len(self._metrics) >= METRICS_MAX:
                raise HostCallError(Status.INTERNAL_FAILURE, f"more than {METRICS_MAX} metrics")
            found = self._metrics[metric_type, name] = Metric(name, metric_type)
        return found

    def values(self) -> dict[str, int]:
        """Counters and gauges by name."""
        return {
            metric.name: metric.value for metric in self._metrics.values() if metric.type is not MetricType.HISTOGRAM
        }

    def samples(self, name: str) -> list[int]:
        """The newest samples of the histogram `name`."""
        return list(self._metrics[MetricType.HISTOGRAM, name].samples)


class MetricIds:
    """How one VM names metrics: an id is (number << 2) | type, and every definition makes a new one, as in Envoy."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._by_id: dict[int, Metric] = {}
        self._defined = dict.fromkeys(MetricType, 0)

    def define(self, metric_type: int, name: str) -> int:
        if metric_type not in tuple(MetricType):
            raise HostCallError(Status.BAD_ARGUMENT, f"no metric type {metric_type}")
        kind = MetricType(metric_type)
        if len(self._by_id) >= METRICS_MAX:
            raise HostCallError(Status.INTERNAL_FAILURE, f"more than {METRICS_MAX} metrics")
        metric = self._metrics.find(kind, name)
        self._defined[kind] += 1
        metric_id = (self._defined[kind] << _TYPE_BITS) | kind
        self._by_id[metric_id] = metric
        return metric_id

    def record(self, metric_id: int, value: int) -> None:
        """A gauge is set, a counter grows by the value, a histogram takes a sample. The value is a u64."""
        metric = self._find(metric_id)
        value &= _U64
        if metric.type is MetricType.COUNTER:
            metric.value = (metric.value + value) & _U64
        elif metric.type is MetricType.GAUGE:
            metric.value = value
        else:
            metric.samples.append(value)

    def increment(self, metric_id: int, offset: int) -> None:
        self._refuse_histogram(metric_id)
        metric = self._find(metric_id)
        if metric.type is MetricType.COUNTER and offset <= 0:
            raise HostCallError(Status.BAD_ARGUMENT, f"a counter does not grow by {offset}")
        metric.value += offset

    def get(self, metric_id: int) -> int:
        self._refuse_histogram(metric_id)
        return self._find(metric_id).value & _U64

    def _refuse_histogram(self, metric_id: int) -> None:
        if metric_id & 3 not in (MetricType.COUNTER, MetricType.GAUGE):
            raise HostCallError(Status.BAD_ARGUMENT, f"metric {metric_id} has no value")

    def _find(self, metric_id: int) -> Metric:
        try:
            return self._by_id[metric_id]
        except KeyError:
            raise HostCallError(Status.NOT_FOUND, f"no metric {metric_id}") from None


@dataclass(slots=True)
class Shared:
    """All of it, for the VMs of one gateway."""

    data: SharedData = field(default_factory=SharedData)
    queues: SharedQueues = field(default_factory=SharedQueues)
    metrics: Metrics = field(default_factory=Metrics)
