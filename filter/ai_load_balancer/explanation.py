"""Why a request went where it went: a line in the log, a header in the response. Neither holds text of a prompt.

A driver without an explainer spends one comparison on it.
"""

import json
import logging
from collections.abc import Mapping
from typing import NamedTuple

from proxywasm import HttpContext

from .log_prefix import log_prefix

MAX_CANDIDATES = 32  # in a line; `of` tells how many there were

_logger = logging.getLogger(__name__)


class Explanation(NamedTuple):
    """One decision.

    rung, outcome: as in telemetry
    chosen: an endpoint's address or a cluster's name; "" if nothing was chosen
    terms: what is about the request as a whole, for example matched_blocks
    candidates: for each endpoint or cluster the terms of its score
    """

    rung: str
    outcome: str
    chosen: str
    terms: Mapping[str, object]
    candidates: Mapping[str, Mapping[str, float]]


class Explainer:
    """Explains the decisions of one policy configuration. `header` is the response header, "" for none."""

    def __init__(self, policy: str, to_log: bool, header: str) -> None:
        self.policy = policy
        self.to_log = to_log
        self.header = header

    def explain(self, context: "HttpContext", explanation: Explanation) -> None:
        """Logs the decision, at level INFO, and keeps it for the response."""
        if self.to_log:
            _logger.info("%sdecision %s", log_prefix(context), self.line(explanation))
        if self.header:
            context.decision_text = self.header_value(explanation)  # type: ignore[attr-defined]

    def line(self, explanation: Explanation) -> str:
        """JSON."""
        rung, outcome, chosen, terms, candidates = explanation
        shown = dict(list(candidates.items())[:MAX_CANDIDATES])
        if chosen in candidates:
            shown[chosen] = candidates[chosen]
        found = {"policy": self.policy, "rung": rung, "outcome": outcome, "chosen": chosen, **terms}
        return json.dumps({**found, "of": len(candidates), "candidates": shown})

    def header_value(self, explanation: Explanation) -> str:
        """`policy=...; rung=...; ...`, without the candidates."""
        rung, outcome, chosen, terms, _ = explanation
        pairs = {"policy": self.policy, "rung": rung, "outcome": outcome, "chosen": chosen, **terms}
        return "; ".join([f"{name}={value}" for name, value in pairs.items() if value != ""])


class DecisionHeader(HttpContext):
    """Mixed into a driver's context class where the configuration asks for the header."""

    decision_text = ""
    decision_header = ""

    def on_response_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        if self.decision_text:
            self.response_headers.set(self.decision_header, self.decision_text)
        return super().on_response_headers(num_headers, end_of_stream)
