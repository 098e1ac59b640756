"""The configurations that the run with faults plays: every policy that counts requests, on the targets that it has."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil
from typing import Any

from ai_load_balancer.scripts import in_flight_keys

from host_sim.abi import Target

from ..requests import CLUSTER

ROUTE = "route"
ENDPOINTS = tuple(f"10.0.0.{number}:8000" for number in range(1, 6))
SERVICES = {f"service-{number}": [endpoint] for number, endpoint in enumerate(ENDPOINTS)}
CLUSTER_HEADER = "x-higress-target-cluster"
REDIS_TIMEOUT_MS = 400
REDIS_BUDGET_MS = 200
TICK_MS = REDIS_BUDGET_MS // 4  # as in redis_rung.py
LEASE_TTL_S = 6
DECISION_HEADER = "x-decision"
SESSION_HEADER = "x-mse-consumer"
LIMIT = 12  # requests at an endpoint
LOAD_FACTOR = 1.25  # the default of endpoint_hash

_ONE_PROMPT = (b'{"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": true}',)
_REDIS = {
    "serviceFQDN": "redis.static",
    "servicePort": 6379,
    "timeout": REDIS_TIMEOUT_MS,
    "redis_budget_ms": REDIS_BUDGET_MS,
}


def _conversations(topics: int, turns: int) -> tuple[bytes, ...]:
    """Prompts that go on where others end."""
    prompts: list[bytes] = []
    for topic in range(topics):
        texts = [f"topic {topic}, turn {turn}: {'word ' * 60}" for turn in range(turns)]
        for said in accumulate([text] for text in texts):
            messages = [{"role": "user", "content": text} for text in said]
            prompts.append(json.dumps({"model": "m", "messages": messages, "stream": True}).encode())
    return tuple(prompts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A policy on a target, and what must come of it when all is well.

    rung: who decides then
    lease_ttl_s: of its leases
    limit: maxRequestCount, 0 for none
    picks_services: each endpoint is a service of its own, and the policy chooses a service
    reads_body: a request is decided when its body is complete
    """

    name: str
    policy: str
    target: Target = "higress"
    rung: str = "redis"
    lb_config: Mapping[str, Any] = field(default_factory=dict)
    lease_ttl_s: int = LEASE_TTL_S
    limit: int = 0
    picks_services: bool = False
    reads_body: bool = False
    prompts: tuple[bytes, ...] = _ONE_PROMPT

    def configuration(self, version: int = 0) -> dict[str, Any]:
        """Odd versions say the same in other words; on stock Envoy, they lack an endpoint."""
        lb_config = dict(self.lb_config)
        if version % 2:
            lb_config["decision_header"] = DECISION_HEADER
        if self.picks_services:
            return {"lb_type": "cluster", "lb_policy": self.policy, "lb_config": {**_REDIS, **lb_config}}
        lb_config["lease_ttl_s"] = self.lease_ttl_s
        if self.target == "higress":
            return {"lb_policy": self.policy, "lb_config": {**_REDIS, **lb_config}}
        endpoints = list(ENDPOINTS[: -1 if version % 2 else None])
        return {"lb_policy": self.policy, "lb_config": lb_config, "endpoints": endpoints}

    @property
    def clusters(self) -> dict[str, list[str]]:
        return SERVICES if self.picks_services else {CLUSTER: list(ENDPOINTS)}

    @property
    def keys(self) -> tuple[bytes, bytes, bytes]:
        """Of counts, leases and expiries in Redis; the first is also that of the gateway's own counts."""
        if self.picks_services:
            return in_flight_keys(b"", b"faults|AdaptiveScore")  # a service's requests count for all routes
        return in_flight_keys(ROUTE.encode(), CLUSTER.encode())

    def counted_as(self, address: str) -> str:
        """What a request at an endpoint is counted at."""
        if not self.picks_services:
            return address
        return next(name for name, endpoints in SERVICES.items() if address in endpoints)

    def most_at_one(self, requests: int) -> int:
        """How many of so many requests that come at once may be at one endpoint."""
        if self.policy == "global_least_request":
            return self.limit or ceil(requests / len(ENDPOINTS))
        if self.policy == "endpoint_hash":
            return ceil(LOAD_FACTOR * requests / len(ENDPOINTS))
        return requests

    def routed(self, requests: int) -> int:
        """How many of so many requests that come at once are not answered with 429."""
        return min(requests, self.limit * len(ENDPOINTS)) if self.limit else requests


CASES = {
    case.name: case
    for case in (
        Case(name="global_least_request", policy="global_least_request"),
        Case(
            name="global_least_request with a limit",
            policy="global_least_request",
            lb_config={"maxRequestCount": LIMIT},
            limit=LIMIT,
        ),
        Case(name="prefix_cache", policy="prefix_cache", reads_body=True, prompts=_conversations(6, 5)),
        Case(name="endpoint_hash", policy="endpoint_hash", lb_config={"hash_header": SESSION_HEADER}),
        Case(
            name="cluster_metrics, AdaptiveScore of all gateways",
            policy="cluster_metrics",
            lb_config={
                "mode": "AdaptiveScore",
                "service_list": list(SERVICES),
                "global_inflight_enabled": True,
                "global_inflight_key_prefix": "faults",
            },
            lease_ttl_s=60,
            picks_services=True,
        ),
        Case(name="global_least_request on Envoy", policy="global_least_request", target="envoy", rung="local"),
        Case(
            name="prefix_cache on Envoy",
            policy="prefix_cache",
            target="envoy",
            rung="local",
            reads_body=True,
            prompts=_conversations(6, 5),
        ),
    )
}
POLICIES = tuple(dict.fromkeys(case.policy for case in CASES.values()))
