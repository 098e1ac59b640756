"""What the policies tell through the proxy's metrics.

    ailb_decisions_total.policy.P.rung.R.outcome.O   one for every request
    ailb_fallbacks_total.policy.P.rung.R.reason.X    a rung that did not decide, and why
    ailb_in_flight.policy.P                          requests that were routed and have not ended
    ailb_lookup_us.policy.P                          how long requests waited for a reply of Redis

A rung is who decided: `redis`, `local` (the gateway's own counts), `metrics` (of the engines), `header`; or `proxy`,
where nothing was chosen and the request goes on, on the proxy's own balancing. The outcome `rejected` is a 429 (403 for
cluster_hash). Exceptions are counted by the SDK, in `proxywasm_exceptions`.
"""

from proxywasm import Counter, Gauge, Histogram

REDIS, LOCAL, METRICS, HEADER, PROXY = "redis", "local", "metrics", "header", "proxy"

ROUTED, REJECTED = "routed", "rejected"


class Telemetry:
    """The metrics of one policy. They are defined at their first use."""

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.in_flight = Gauge(f"ailb_in_flight.policy.{policy}")
        self.lookup_us = Histogram(f"ailb_lookup_us.policy.{policy}")
        self._decisions: dict[tuple[str, str], Counter] = {}
        self._fallbacks: dict[tuple[str, str], Counter] = {}

    def decided(self, rung: str, outcome: str) -> None:
        """Counts a request; exactly once for each."""
        self.decisions(rung, outcome).increment(1)

    def decisions(self, rung: str, outcome: str) -> Counter:
        """The counter of such requests, for who counts the same again and again."""
        counter = self._decisions.get((rung, outcome))
        if counter is None:
            name = f"ailb_decisions_total.policy.{self.policy}.rung.{rung}.outcome.{outcome}"
            counter = self._decisions[rung, outcome] = Counter(name)
        return counter

    def fell_back(self, rung: str, reason: str) -> None:
        """Counts that a rung was asked, or should have been, and did not decide."""
        counter = self._fallbacks.get((rung, reason))
        if counter is None:
            name = f"ailb_fallbacks_total.policy.{self.policy}.rung.{rung}.reason.{reason}"
            counter = self._fallbacks[rung, reason] = Counter(name)
        counter.increment(1)
