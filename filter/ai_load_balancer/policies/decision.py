"""What a policy decides about a request."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Routed:
    """Send the request to `endpoint`, which has `in_flight` requests with this one."""

    endpoint: str
    in_flight: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """Answer 429: every endpoint has at least `lowest_in_flight` requests, and one more is above the limit."""

    lowest_in_flight: int


Decision: TypeAlias = Routed | Rejected
