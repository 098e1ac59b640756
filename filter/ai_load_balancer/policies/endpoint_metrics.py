"""endpoint_metrics: the endpoint whose engine has the least to do, by the engines' own metrics.

`default` narrows the endpoints down, step by step: a short queue, the request's LoRA adapter or room for it, the least
waiting, the least KV cache in use. `least` and `most` compare one metric that the configuration names. Each comparison
keeps all that are within the first part of the range when it is divided by the number of endpoints, and the last step
draws among those that are left. (The chain, the threshold and the ranges are those of the Gateway API inference
extension, which the Go plugin follows.)

What the queues hold is the shared load of endpoint_loads: scraped, plus sent since. An endpoint that is new, or fails,
counts as one with a part of its capacity: a queue of 4 weighs as 9 if it has half of it. Where no queues are compared,
it is left out until it has half.
"""

from collections.abc import Sequence
from typing import NamedTuple

from .endpoint_loads import EndpointLoads, Scrapes, names_of
from .handicaps import MIN_CAPACITY
from .metrics_text import Metrics, TargetReader, read_engine

LOW_QUEUE_REQUESTS = 50  # below it, affinity to an adapter comes before the queue's length
ABLE_CAPACITY = 0.5  # to take part where `least` or `most` compare something else than queues

UNKNOWN_KV_USAGE = 1.0  # an engine that does not tell is the last choice among those that wait alike


class Endpoint(NamedTuple):
    """One healthy endpoint as a worker sees it.

    metrics: None if its text is missing or cannot be read
    fingerprint: u32, equal for equal texts within one build of the module
    scraped_at_ms: when the text was seen first
    healthy_at_ms: since when it is known as healthy; None if it was so from the beginning
    """

    address: str
    metrics: Metrics | None
    fingerprint: int
    scraped_at_ms: float
    healthy_at_ms: float | None = None


class View:
    """The healthy endpoints of a cluster, prepared for many decisions: it does not change."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.addresses = tuple([endpoint.address for endpoint in endpoints])
        self.metrics = [endpoint.metrics or Metrics() for endpoint in endpoints]
        self.known = [position for position, endpoint in enumerate(endpoints) if endpoint.metrics is not None]
        usages = [metrics.kv_usage for metrics in self.metrics]
        self.kv_usages = [UNKNOWN_KV_USAGE if usage is None else usage for usage in usages]
        self.targets = [metrics.target or 0.0 for metrics in self.metrics]
        self.has_lora = any(metrics.lora.max_active for metrics in self.metrics)
        self.healthy_at_ms = [endpoint.healthy_at_ms for endpoint in endpoints]
        self.last_healthy_at_ms = max((at_ms for at_ms in self.healthy_at_ms if at_ms is not None), default=None)
        self.scrapes = Scrapes(
            names_of(self.addresses),
            b"".join([endpoint.fingerprint.to_bytes(4, "little") for endpoint in endpoints]),
            [metrics.waiting or metrics.target or 0.0 for metrics in self.metrics],
            [endpoint.scraped_at_ms for endpoint in endpoints],
        )


class Choice(NamedTuple):
    """The endpoint to route to, and why.

    position: in the view's addresses
    depths: the queues that were compared, in requests, each weighed by its endpoint's capacity; one for each endpoint
    capacities: the parts of their capacity that endpoints are thought to have; None if all have all of it
    limited: the endpoint that the metrics favour has had more than its share, so that this is another one
    has_failed: lately; so a response that is none of a failure is worth telling
    """

    position: int
    depths: list[int]
    capacities: list[float] | None
    limited: bool
    has_failed: bool


class EndpointMetrics:
    """The policy as configured. It holds no state: that is in the view and in the loads.

    metric_policy: default, least or most; target_metric: for the latter two
    rate_limit: the highest share of the last picks, 0 to 1, that an endpoint is to have
    slow_start_ms: how long an endpoint that is new or has recovered takes to get its full capacity; 0 for none
    """

    def __init__(
        self, metric_policy: str = "default", target_metric: str = "", rate_limit: float = 1.0, slow_start_ms: int = 0
    ) -> None:
        self._policy = metric_policy
        self._rate_limit = rate_limit
        self._slow_start_ms = slow_start_ms
        self._target = TargetReader(target_metric) if metric_policy != "default" else None
        self.scope = target_metric.encode() if self._target else b""
        """Policies of equal scope can share their loads."""
        self.read = self._target or read_engine
        """What is to be read from each text: (text, line end) -> metrics, None if they are not there."""

    def needs_model(self, view: View) -> bool:
        """Whether the request's model makes a difference; without it, no body has to be read."""
        return view.has_lora and self._target is None

    def choose(
        self, view: View, loads: EndpointLoads, now_ms: float, random_number: int, model: str | None = None
    ) -> Choice | None:
        """Decides and counts the request; None if no endpoint's metrics are known, and then nothing is counted.

        `model` is the request's, None if it has none or it does not matter. `random_number` is uniform in a range that
        is large against the square of the number of endpoints.
        """
        if not view.known:
            return None
        depths = loads.depths(now_ms)
        error_rates = loads.error_rates(now_ms)
        capacities = self._capacities(view, error_rates, now_ms)
        if capacities is not None:
            weighed = zip(depths, capacities, strict=True)
            depths = [round((depth + 1) / capacity) - 1 for depth, capacity in weighed]
        favourites = self._favourites(view, depths, capacities, model)
        random_number, drawn = divmod(random_number, len(favourites))
        position = favourites[drawn]
        others = len(view.addresses) - 1
        limited = self._rate_limit < 1 and others > 0 and loads.share_of_picks(position) > self._rate_limit
        if limited:
            other = random_number % others
            position = other if other < position else other + 1
        loads.add_pick(position, now_ms)
        return Choice(position, depths, capacities, limited, error_rates is not None and error_rates[position] > 0)

    def terms(self, view: View, choice: Choice, model: str | None) -> dict[str, dict[str, float]]:
        """For each endpoint what was compared; nothing for one whose metrics are not known."""
        compares_queues = self._target is None or self._target.is_depth
        compared: dict[str, dict[str, float]] = {}
        for position, address in enumerate(view.addresses):
            terms = compared[address] = {}
            if position not in view.known:
                continue
            if self._target is not None:
                terms["target"] = view.targets[position]
            if compares_queues:
                terms["queue"] = choice.depths[position]
            if self._target is None:
                terms["kv_usage"] = view.kv_usages[position]
            if self._target is None and model is not None:
                lora = view.metrics[position].lora
                terms |= {"lora_active": int(model in lora.active), "lora_room": int(lora.has_room())}
            if choice.capacities is not None:
                terms["capacity"] = round(choice.capacities[position], 3)
        return compared

    def _favourites(
        self, view: View, depths: list[int], capacities: list[float] | None, model: str | None
    ) -> list[int]:
        if self._target is None:
            return _by_queue(view, depths, model)
        if self._policy == "most":
            return _highest(view.targets, _able(view.known, capacities))
        if self._target.is_depth:
            return _lowest(depths, view.known)
        return _lowest(view.targets, _able(view.known, capacities))

    def _capacities(self, view: View, rates: list[float] | None, now_ms: float) -> list[float] | None:
        """What part of its capacity each endpoint is thought to have; None if all have all of it."""
        last_ms = view.last_healthy_at_ms
        starting = last_ms is not None and now_ms - last_ms < self._slow_start_ms
        if rates is None and not starting:
            return None
        capacities = [1 - rate for rate in rates] if rates is not None else [1.0] * len(view.addresses)
        if starting:
            for position, at_ms in enumerate(view.healthy_at_ms):
                if at_ms is not None and now_ms - at_ms < self._slow_start_ms:
                    capacities[position] *= max(0.0, now_ms - at_ms) / self._slow_start_ms
        return [max(MIN_CAPACITY, capacity) for capacity in capacities]


def _by_queue(view: View, depths: list[int], model: str | None) -> list[int]:
    known = view.known
    heeds_lora = view.has_lora and model is not None
    low = [position for position in known if depths[position] < LOW_QUEUE_REQUESTS]
    if not low:
        candidates = _lowest(depths, known)
        if heeds_lora:
            candidates = _with_adapter_or_room(view, candidates, model) or candidates
        return _lowest(view.kv_usages, candidates)
    if heeds_lora:
        metrics = view.metrics
        low = (
            [position for position in low if model in metrics[position].lora.active]
            or [position for position in low if metrics[position].lora.has_room()]
            or low
        )
    return _lowest(view.kv_usages, _lowest(depths, low))


def _able(known: list[int], capacities: list[float] | None) -> list[int]:
    """Those with enough capacity to be compared by a number that capacity does not change; all, if none has."""
    if capacities is None:
        return known
    return [position for position in known if capacities[position] >= ABLE_CAPACITY] or known


def _with_adapter_or_room(view: View, candidates: list[int], model: str | None) -> list[int]:
    loras = [(position, view.metrics[position].lora) for position in candidates]
    return [position for position, lora in loras if model in lora.active or lora.has_room()]


def _lowest(amounts: Sequence[float], candidates: list[int]) -> list[int]:
    """The candidates within the first part of the range of their amounts."""
    compared = [amounts[position] for position in candidates]
    lowest = min(compared)
    bound = lowest + (max(compared) - lowest) / len(compared)
    return [position for position in candidates if amounts[position] <= bound]


def _highest(amounts: Sequence[float], candidates: list[int]) -> list[int]:
    compared = [amounts[position] for position in candidates]
    highest = max(compared)
    bound = highest - (highest - min(compared)) / len(compared)
    return [position for position in candidates if amounts[position] >= bound]
