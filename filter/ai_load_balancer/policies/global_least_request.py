"""global_least_request: the endpoint with the fewest requests in flight, equals drawn uniformly.

With Redis the choice is made there, in one step with the count (scripts/acquire.lua), and `read_reply` turns the answer
into a decision. `choose` is the same rule over counts that are at hand.
"""

from collections.abc import Sequence

from . import handicaps as _handicaps
from .decision import Decision, Rejected, Routed
from .handicaps import Handicaps
from .lowest import lowest


class MalformedReply(ValueError):
    """The reply to a script is not what its contract says."""


def choose(
    endpoints: Sequence[str],
    in_flight: Sequence[int],
    limit: int,
    random_number: int,
    handicaps: Handicaps = _handicaps.NONE,
) -> Decision:
    """Decides among `endpoints` (at least one) by their counts, which are in the same order.

    `limit` is the highest count that an endpoint may reach, 0 for no limit. `random_number` is uniform in a range that
    is large against the number of endpoints, and decides among equals.
    """
    if limit:
        with_room = [position for position, count in enumerate(in_flight) if count < limit]
        if not with_room:
            return Rejected(min(in_flight))
        if len(with_room) < len(endpoints):
            endpoints = [endpoints[position] for position in with_room]
            in_flight = [in_flight[position] for position in with_room]
    position = lowest(_handicaps.loads(endpoints, in_flight, handicaps), random_number)
    return Routed(endpoints[position], in_flight[position] + 1)


def read_reply(reply: object, endpoints: Sequence[str]) -> Decision:
    """The decision in acquire.lua's reply {i, count}; `endpoints` are those that were given to it.

    Raises MalformedReply.
    """
    if type(reply) is list and len(reply) == 2:
        position, in_flight = reply
        if type(position) is int and type(in_flight) is int and in_flight > 0:
            if 0 < position <= len(endpoints):
                return Routed(endpoints[position - 1], in_flight)
            if position == 0:
                return Rejected(in_flight)
    raise MalformedReply(f"expected [1..{len(endpoints)} or 0, count > 0], found {_excerpt(reply)}")


MAX_EXCERPT_CHARACTERS = 200


def _excerpt(reply: object) -> str:
    text = repr(reply)
    return text if len(text) <= MAX_EXCERPT_CHARACTERS else text[:MAX_EXCERPT_CHARACTERS] + "..."
