"""In-flight counts in the gateway's shared data, for all its workers: one value per route and cluster.

The value is text, `<endpoint> <count> <endpoint> <count> ...`; endpoints with nothing in flight are left out. A count
that could not be given back, because other workers were always faster, is given back with the next change.
"""

from random import getrandbits

from proxywasm import shared_data
from proxywasm.errors import CasMismatch

from .policies.decision import Decision, Routed
from .policies.global_least_request import choose

MAX_ROUTES_OWED = 1024  # beyond it, what is owed is forgotten: the counts stay too high


class LocalCounts:
    """The counts as one VM sees and changes them."""

    def __init__(self) -> None:
        self._owed: dict[bytes, dict[str, int]] = {}

    def take(self, key: bytes, endpoints: tuple[str, ...], limit: int) -> Decision:
        """Chooses an endpoint and counts the request there, unless it is rejected.

        Raises errors.CasMismatch when other workers changed the counts at every attempt.
        """
        decision: Decision
        random_number = getrandbits(31)

        def change(value: bytes | None) -> bytes:
            nonlocal decision
            in_flight = self._without_owed(key, decode(value))
            decision = choose(endpoints, in_flight, limit, random_number)
            if isinstance(decision, Routed):
                in_flight[decision.endpoint] = decision.in_flight
            return encode(in_flight)

        shared_data.update(key, change)
        self._owed.pop(key, None)
        return decision

    def give_back(self, key: bytes, endpoint: str) -> None:
        """Counts one request less. Never raises for contention: then the next change does it."""
        owed = self._owed.setdefault(key, {})
        owed[endpoint] = owed.get(endpoint, 0) + 1
        try:
            shared_data.update(key, lambda value: encode(self._without_owed(key, decode(value))))
        except CasMismatch:
            if len(self._owed) > MAX_ROUTES_OWED:
                del self._owed[next(iter(self._owed))]
        else:
            del self._owed[key]

    def _without_owed(self, key: bytes, in_flight: dict[str, int]) -> dict[str, int]:
        owed = self._owed.get(key)
        if owed:
            for endpoint, number in owed.items():
                in_flight[endpoint] = max(0, in_flight.get(endpoint, 0) - number)
        return in_flight


def decode(value: bytes | None) -> dict[str, int]:
    """The counts in a value; none if it is missing or not ours."""
    if not value:
        return {}
    words = value.decode("ascii", "replace").split()
    try:
        return dict(zip(words[::2], map(int, words[1::2]), strict=True))
    except ValueError:
        return {}


def encode(in_flight: dict[str, int]) -> bytes:
    return " ".join([f"{endpoint} {count}" for endpoint, count in in_flight.items() if count]).encode("ascii")
