"""What is run in Redis, beside what the Go plugin's scripts take for the same."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..cost.cases import services

_REDIS = {"serviceFQDN": "redis.static", "servicePort": 6379}
_ENDPOINTS_OF_PREFIX_CACHE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of requests under one configuration.

    lb_config: of the policy `policy`
    endpoints: or clusters, for a policy that chooses a cluster
    blocks: of each prompt, 0 for requests without a prompt
    all_new: no two prompts are alike; else they all are
    with_release: what gives the lease back counts too
    go_us: what the Go plugin's script takes, in microseconds (its release is not in it)
    """

    name: str
    policy: str
    lb_config: Mapping[str, Any]
    endpoints: int
    blocks: int = 0
    all_new: bool = False
    with_release: bool = True
    go_us: float | None = None

    def body(self, number: int) -> bytes:
        """Of the request of this number."""
        if not self.blocks:
            return b"{}"
        prompt = f"prompt {number if self.all_new else 0}"
        return json.dumps({"messages": [{"role": "user", "content": prompt}] * self.blocks}).encode()


def cases() -> Iterator[Case]:
    """All of them, in the order of a report."""
    for endpoints, go_us in ((3, 21), (16, 55), (128, 448)):
        yield Case(
            name=f"acquire+release/{endpoints}",
            policy="global_least_request",
            lb_config=_REDIS,
            endpoints=endpoints,
            go_us=go_us,
        )
    prompts = (("all-known", (12, 400, 3143, 38695)), ("all-new", (19, 487, 3248, 39484)))
    for kind, all_go_us in prompts:
        for blocks, go_us in zip((1, 9, 53, 500), all_go_us, strict=True):
            yield Case(
                name=f"prefix_acquire/{blocks}/{kind}",
                policy="prefix_cache",
                lb_config=_REDIS,
                endpoints=_ENDPOINTS_OF_PREFIX_CACHE,
                blocks=blocks,
                all_new=kind == "all-new",
                with_release=False,
                go_us=go_us,
            )
    for endpoints in (3, 16, 128):
        yield Case(
            name=f"acquire_bounded+release/{endpoints}",
            policy="endpoint_hash",
            lb_config=_REDIS,
            endpoints=endpoints,
        )
    adaptive = {"mode": "AdaptiveScore", "global_inflight_enabled": True, "service_list": services(16)}
    yield Case(
        name="cluster_acquire+release/2-of-16", policy="cluster_metrics", lb_config={**_REDIS, **adaptive}, endpoints=16
    )
