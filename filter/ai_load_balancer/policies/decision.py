"""What a policy decides about a request. Named tuples: one is made for every request, and they cost least."""

from typing import NamedTuple, TypeAlias


class Routed(NamedTuple):
    """Send the request to `endpoint`, which has `in_flight` requests with this one."""

    endpoint: str
    in_flight: int


class Rejected(NamedTuple):
    """Answer 429: every endpoint has at least `lowest_in_flight` requests, and one more is above the limit."""

    lowest_in_flight: int


Decision: TypeAlias = Routed | Rejected
