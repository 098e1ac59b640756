"""endpoint_hash: session affinity by a header's value, by consistent hashing with bounded load.

A session is one of SESSION_BUCKETS buckets, and every bucket has its own order of preference over all endpoints
(rendezvous hashing: each endpoint scores by itself). The request goes to the first endpoint in this order that stays
within `load_factor` times the mean number of requests in flight. So a removed endpoint moves its own sessions only, to
the next ones in their orders, and a new one takes no session but those that it is now the first for.

Orders are remembered per set of endpoints, so that most requests cost one hash and two look-ups. The hash is blake2b,
which is the same in every build and every worker.

With Redis, scripts/acquire_bounded.lua does what `choose` does, in one step with the count; read its reply with
global_least_request.read_reply(reply, order). Without the header: global_least_request, on the same counts.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from math import ceil

from .decision import Routed

SESSION_BUCKETS = 4096  # 32 per endpoint, if there are 128
MAX_ENDPOINT_SETS = 8  # remembered at a time; for 128 endpoints each takes up to 2 MB

# The largest one below 2^30: the remainder mixes products of two numbers below it well, and CPython keeps each of them
# in one digit, which makes an order cheap.
_PRIME = 2**30 - 35


class SessionOrders:
    """The orders of preference over one set of endpoints, one per bucket."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        self._hashes = {endpoint: stable_hash(endpoint) for endpoint in sorted(endpoints)}
        self._orders: dict[int, tuple[str, ...]] = {}

    def order(self, bucket: int) -> tuple[str, ...]:
        order = self._orders.get(bucket)
        if order is None:
            factor = stable_hash(f"bucket {bucket}")
            scores = {endpoint: value * factor % _PRIME for endpoint, value in self._hashes.items()}
            order = tuple(sorted(scores, key=scores.__getitem__))
            self._orders[bucket] = order
        return order


class EndpointHash:
    """Remembers the orders for the sets of endpoints that were seen last."""

    def __init__(self) -> None:
        self._sets: dict[tuple[str, ...], SessionOrders] = {}

    def order(self, endpoints: tuple[str, ...], session: str) -> tuple[str, ...]:
        """All of `endpoints`, in the order in which the session, a header's value, prefers them."""
        orders = self._sets.get(endpoints)
        if orders is None:
            if len(self._sets) >= MAX_ENDPOINT_SETS:
                self._sets.clear()
            orders = self._sets[endpoints] = SessionOrders(endpoints)
        return orders.order(stable_hash(session) % SESSION_BUCKETS)


def choose(order: Sequence[str], in_flight: Mapping[str, int], load_factor: float) -> Routed:
    """The first endpoint in `order` (at least one) that is within the bound with this request.

    There always is one for a `load_factor` of at least 1. An endpoint without a count has none in flight.
    """
    counts = [in_flight.get(endpoint, 0) for endpoint in order]
    bound = ceil(load_factor * (sum(counts) + 1) / len(order))
    for endpoint, count in zip(order, counts, strict=True):
        if count < bound:
            return Routed(endpoint, count + 1)
    raise ValueError(f"load_factor must be at least 1, found {load_factor}")


def stable_hash(text: str) -> int:
    """In 1 .. 2^30 - 36, the same everywhere and always."""
    digest = blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little") % (_PRIME - 1) + 1
