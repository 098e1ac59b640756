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

from collections.abc import Sequence
from hashlib import blake2b
from math import ceil

from .decision import Routed
from .handicaps import NONE, Handicaps, loads

SESSION_BUCKETS = 4096  # 32 per endpoint, if there are 128
MAX_ENDPOINT_SETS = 2  # remembered at a time
MAX_REMEMBERED = 2**20  # endpoints in the orders of a set, 4 bytes each

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
            if len(self._orders) * len(self._hashes) >= MAX_REMEMBERED:
                self._orders.clear()
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


def choose(order: Sequence[str], in_flight: Sequence[int], load_factor: float, handicaps: Handicaps = NONE) -> Routed:
    """The first endpoint in `order` (at least one) whose load is within the bound with this request.

    The counts are in the same order. Without handicaps there always is one for a `load_factor` of at least 1; if there
    is none, it is the one with the lowest load.
    """
    bound = ceil(load_factor * (sum(in_flight) + 1) / len(order))
    weighed = loads(order, in_flight, handicaps)
    for endpoint, count, load in zip(order, in_flight, weighed, strict=True):
        if load + 1 <= bound:
            return Routed(endpoint, count + 1)
    position = weighed.index(min(weighed))
    return Routed(order[position], in_flight[position] + 1)


def stable_hash(text: str) -> int:
    """In 1 .. 2^30 - 36, the same everywhere and always."""
    digest = blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little") % (_PRIME - 1) + 1
