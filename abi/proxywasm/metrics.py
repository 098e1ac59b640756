"""Metrics that the proxy exports. A metric is defined at the first use, so that it can be made at import."""

from collections.abc import Callable
from functools import partial

from ._host import host
from .enums import MetricType


class _Metric:
    __slots__ = ("_id", "name")

    _type: MetricType

    def __init__(self, name: str) -> None:
        self.name = name
        self._id: int | None = None

    @property
    def id(self) -> int:
        """The number that the host gave; defines the metric if need be."""
        if self._id is None:
            self._id = host.define_metric(int(self._type), self.name)
        return self._id

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class Counter(_Metric):
    """A number that only grows. `increment(offset)`, offset > 0; from the second call on it is the host call itself."""

    __slots__ = ("increment",)
    _type = MetricType.COUNTER

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.increment: Callable[[int], None] = self._first_increment

    def _first_increment(self, offset: int) -> None:
        self.increment = partial(host.increment_metric, self.id)
        self.increment(offset)

    def value(self) -> int:
        return host.get_metric(self.id)


class Gauge(_Metric):
    """A number that goes up and down. `add(offset)` is the host call itself from the second call on."""

    __slots__ = ("add",)
    _type = MetricType.GAUGE

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.add: Callable[[int], None] = self._first_add

    def _first_add(self, offset: int) -> None:
        self.add = partial(host.increment_metric, self.id)
        self.add(offset)

    def set(self, value: int) -> None:
        host.record_metric(self.id, value)

    def value(self) -> int:
        return host.get_metric(self.id)


class Histogram(_Metric):
    """A distribution of numbers. `record(value)` is the host call itself from the second call on."""

    __slots__ = ("record",)
    _type = MetricType.HISTOGRAM

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.record: Callable[[int], None] = self._first_record

    def _first_record(self, value: int) -> None:
        self.record = partial(host.record_metric, self.id)
        self.record(value)
