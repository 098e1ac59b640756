"""cluster_metrics: the service with the lowest metric; which metric it is, is the mode.

A service is named by its position in `service_list`. With a `rate_limit` below 1, services whose share of the last
`queue_size` picks has reached it are left out, unless all have.

    mode                      metric                                        kept in
    LeastBusy                 requests in flight                            count_board, own_in_flight
    LeastTotalLatency         mean time to the response's end               latency_window
    LeastFirstTokenLatency    mean time to the response's first body chunk  latency_window
    AdaptiveScore             adaptive_score                                count_board, adaptive_score

A gateway's workers share a mode's statistics in one value of shared data, by compare-and-swap: first the recent_picks,
then latency_window or adaptive_score, then the count_board. So a request reads and writes it once at its start and once
at its end. What a request leaves behind is decided when its stream ends (`verdict`); only in LeastFirstTokenLatency the
time to the first token of a success is recorded at once.
"""

from collections.abc import Sequence
from enum import Enum
from hashlib import blake2b

from .lowest import lowest

LEAST_BUSY = "LeastBusy"
LEAST_TOTAL_LATENCY = "LeastTotalLatency"
LEAST_FIRST_TOKEN_LATENCY = "LeastFirstTokenLatency"
ADAPTIVE_SCORE = "AdaptiveScore"
MODES = (LEAST_BUSY, LEAST_TOTAL_LATENCY, LEAST_FIRST_TOKEN_LATENCY, ADAPTIVE_SCORE)


class Verdict(Enum):
    """How a request to a service ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    ABORTED = "aborted"


def verdict(status: str | None) -> Verdict:
    """By the response's `:status`; None if no response came.

    Where a service cannot be reached the proxy itself answers with a 5xx, so no response means that the client left.
    """
    if status is None:
        return Verdict.ABORTED
    return Verdict.SUCCESS if len(status) == 3 and status[0] == "2" else Verdict.FAILURE


def least_busy(in_flight: Sequence[int], among: Sequence[int], random_number: int) -> int:
    """The position of the service with the fewest requests in flight, of those `among` the positions.

    Equals are drawn uniformly by `random_number`.
    """
    return among[lowest([in_flight[position] for position in among], random_number)]


def statistics_key(mode: str, services: Sequence[str], window: int) -> bytes:
    """The key of shared data under which a gateway's workers keep a mode's statistics about these services.

    Their layout depends on the number of services and samples, so another configuration has another key.
    """
    text = "\n".join((*services, str(window))).encode("utf-8", "surrogateescape")
    return b"ailb:{cluster_metrics|%b}:%b" % (blake2b(text, digest_size=8).hexdigest().encode(), mode.encode())
