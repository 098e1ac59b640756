"""prefix_cache: the endpoint that has seen the longest prefix of the prompt, as its key-value cache may still hold it.

With Redis the choice is made there, in one step with the count and with the record of who knows what from now on
(scripts/prefix_acquire.lua). `choose` and `record` are the same rule over an index that is at hand. The keys of the
prefixes are those of prefix_blocks.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from . import global_least_request
from .decision import Rejected, Routed
from .handicaps import NONE, Handicaps, is_avoided

MAX_OWNERS = 4  # of a block, as in prefix_acquire.lua


class RoutedByPrefix(NamedTuple):
    """Send the request to `endpoint`, which has `in_flight` requests with this one and owns the first blocks.

    `matched_blocks` is how many it owns; 0 if it was chosen for its count alone.
    """

    endpoint: str
    in_flight: int
    matched_blocks: int


PrefixDecision: TypeAlias = RoutedByPrefix | Rejected


def choose(
    owners: Sequence[Sequence[str]],
    endpoints: Sequence[str],
    in_flight: Sequence[int],
    limit: int,
    random_number: int,
    handicaps: Handicaps = NONE,
) -> PrefixDecision:
    """Decides among `endpoints` (at least one) by their counts, which are in the same order.

    `owners` are those of each block, from the prompt's start on. The longest prefix with an owner among the endpoints
    wins; of several owners, the one with the lowest count. If there is none, or none below the limit, or those that
    there are fail, the endpoint with the lowest count wins. The rest is as in global_least_request.choose.
    """
    for matched in range(len(owners), 0, -1):
        candidates = [owner for owner in owners[matched - 1] if owner in endpoints]
        if not candidates:
            continue
        candidates = [owner for owner in candidates if not is_avoided(owner, handicaps)]
        if candidates:
            counts = [in_flight[endpoints.index(owner)] for owner in candidates]
            decision = global_least_request.choose(candidates, counts, limit, random_number, handicaps)
            if isinstance(decision, Routed):
                return RoutedByPrefix(*decision, matched)
        break
    decision = global_least_request.choose(endpoints, in_flight, limit, random_number, handicaps)
    return RoutedByPrefix(*decision, 0) if isinstance(decision, Routed) else decision


def record(owners: Sequence[str], endpoints: Sequence[str], chosen: str) -> Sequence[str]:
    """The owners of a block after `chosen` got its prompt; `owners` itself if they stay the same."""
    if chosen in owners and all(owner in endpoints for owner in owners):
        return owners
    return [chosen, *(owner for owner in owners if owner != chosen and owner in endpoints)][:MAX_OWNERS]
