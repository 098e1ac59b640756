import pytest
from proxywasm.enums import MetricType

from host_sim.errors import HostCallError
from host_sim.shared import MetricIds, Metrics, SharedData, SharedQueues


def refused(status):
    return pytest.raises(HostCallError, match=status)


def test_shared_data_is_scoped_by_vm_id_and_compared():
    """Shared data is scoped by vm_id; the CAS counter is never 0; cas 0 = unconditional."""
    data = SharedData()
    data.set(b"vm", b"k", b"1", 0)
    value, cas = data.get(b"vm", b"k")
    assert value == b"1"
    assert cas != 0
    with refused("NOT_FOUND"):
        data.get(b"other", b"k")
    data.set(b"vm", b"k", b"2", cas)
    with refused("CAS_MISMATCH"):
        data.set(b"vm", b"k", b"3", cas)
    data.set(b"vm", b"k", b"4", 0)
    assert data.get(b"vm", b"k")[0] == b"4"


def test_a_non_zero_cas_on_a_missing_key_succeeds():
    data = SharedData()
    data.set(b"vm", b"k", b"1", 77)
    assert data.get(b"vm", b"k")[0] == b"1"


def test_the_cas_counter_skips_zero_when_it_wraps():
    data = SharedData()
    data._next_cas = 0xFFFF_FFFF
    data.set(b"vm", b"k", b"1", 0)
    assert data.get(b"vm", b"k")[1] == 1


def test_queues():
    """Queue id 0 is illegal."""
    queues = SharedQueues()
    told: list[int] = []
    queue = queues.register(b"vm", b"q")
    assert queue != 0
    assert queues.register(b"vm", b"q") == queues.resolve(b"vm", b"q") == queue
    queues.watch(queue, told.append)
    queues.enqueue(queue, b"1")
    queues.enqueue(queue, b"2")
    assert told == [queue, queue]
    assert queues.dequeue(queue) == b"1"
    assert queues.size(queue) == 1
    assert queues.dequeue(queue) == b"2"
    with refused("EMPTY"):
        queues.dequeue(queue)
    with refused("NOT_FOUND"):
        queues.enqueue(0, b"x")
    with refused("NOT_FOUND"):
        queues.resolve(b"other", b"q")


def test_metrics():
    """id low 2 bits = type, step 4; counter increment <= 0 -> BAD_ARGUMENT; record on a counter adds;
    get or increment of a histogram -> BAD_ARGUMENT; unknown id -> NOT_FOUND."""
    shared = Metrics()
    metrics = MetricIds(shared)
    counter, gauge, histogram = (metrics.define(kind, "m") for kind in MetricType)
    assert [counter & 3, gauge & 3, histogram & 3] == list(MetricType)
    assert metrics.define(MetricType.COUNTER, "m") == counter + 4  # a new id of the same counter
    metrics.increment(counter, 2)
    metrics.record(counter, 5)
    assert metrics.get(counter) == 7
    with refused("BAD_ARGUMENT"):
        metrics.increment(counter, 0)
    metrics.record(gauge, 5)
    metrics.increment(gauge, -3)
    assert metrics.get(gauge) == 2
    metrics.record(histogram, 9)
    assert shared.samples("m") == [9]
    for refuse in (lambda: metrics.get(histogram), lambda: metrics.increment(histogram, 1)):
        with refused("BAD_ARGUMENT"):
            refuse()
    with refused("NOT_FOUND"):
        metrics.get(444)
    with refused("BAD_ARGUMENT"):
        metrics.define(3, "m")
