"""What is measured: every policy at the sizes of which the Go plugin's cost is known, and at some more.

A name is target/policy/what varies, for patterns like `*/prefix_cache/*`. Go's figures were taken with bodies of the
same sizes and as many endpoints, for its own policies of the same name; those of all modes of cluster_metrics are that
of LeastBusy. They are without streamed chunks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ai_load_balancer.policies.cluster_metrics import MODES

from host_sim.abi import Target
from host_sim.codec import RespValue

from . import chats

HASH_HEADER = "x-mse-consumer"
REDIS_CLUSTER = "outbound|6379||redis.static"

_REDIS = {"serviceFQDN": "redis.static", "servicePort": 6379}
_EXPLAINED = {"decision_log": True, "decision_header": "x-decision"}

Reply = Callable[[list[bytes]], RespValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One configuration under one kind of requests.

    lb_config: of the policy `policy`
    endpoints: of the cluster that requests go to; for policies that choose a cluster, the number of clusters
    reply: what Redis answers to the command that asks for a lease; None for policies without Redis
    has_metrics: the endpoints have the metrics that vLLM prints, about 15 KB each
    adapters: and LoRA adapters in them, so that the request's model makes a difference
    new_scrape_every: after so many requests the text of one endpoint changes; 0 for never
    go: instructions of the Go plugin
    ratio_max: the most that a request may cost, as a multiple of `go`
    """

    name: str
    target: Target
    policy: str
    lb_config: Mapping[str, Any]
    endpoints: int
    make_body: Callable[[chats.Shape, int], bytes] = chats.chat
    shape: chats.Shape = chats.KB_1
    reply: Reply | None = None
    has_metrics: bool = False
    adapters: bool = False
    new_scrape_every: int = 0
    go: int | None = None
    ratio_max: float | None = None

    @property
    def chooses_cluster(self) -> bool:
        return self.policy.startswith("cluster_")


def cases() -> Iterator[Case]:
    """All of them, in the order of a report."""
    yield from _least_request()
    yield from _prefix_cache()
    yield from _endpoint_metrics()
    yield from _endpoint_hash()
    for target in ("higress", "envoy"):
        yield from _cluster_metrics(target)
        yield from _cluster_hash(target)


def _granted(command: list[bytes]) -> RespValue:
    """The lease is on the first endpoint, which has one request in flight."""
    return [1, 1]


def _granted_by_prefix(command: list[bytes]) -> RespValue:
    """So is it here, and the first endpoint knows all blocks but the last, as in a conversation that goes on."""
    blocks = int(command[2]) - 3  # EVALSHA, script, number of keys, of which three are no blocks
    return [1, 1, blocks - 1]


_SIZES = (("1KB/3", chats.KB_1, 3), ("16KB/16", chats.KB_16, 16), ("128KB/128", chats.KB_128, 128))


def _least_request() -> Iterator[Case]:
    go = (886_000, 1_524_000, 8_719_000)
    for target in ("higress", "envoy"):
        has_redis = target == "higress"
        common: dict[str, Any] = {
            "target": target,
            "policy": "global_least_request",
            "reply": _granted if has_redis else None,
        }
        config = _REDIS if has_redis else {}
        for (name, shape, endpoints), instructions in zip(_SIZES, go, strict=True):
            yield Case(
                name=f"{target}/global_least_request/{name}",
                lb_config=config,
                endpoints=endpoints,
                shape=shape,
                go=instructions,
                ratio_max=0.25,
                **common,
            )
        yield Case(
            name=f"{target}/global_least_request/1KB/3/explained",
            lb_config={**config, **_EXPLAINED},
            endpoints=3,
            **common,
        )


def _prefix_cache() -> Iterator[Case]:
    common: dict[str, Any] = {
        "target": "higress",
        "policy": "prefix_cache",
        "lb_config": _REDIS,
        "reply": _granted_by_prefix,
    }
    goals = ((1_298_000, 0.4), (8_149_000, 0.25), (56_176_000, 0.25))
    for (name, shape, endpoints), (go, ratio_max) in zip(_SIZES, goals, strict=True):
        yield Case(
            name=f"higress/prefix_cache/{name}", endpoints=endpoints, shape=shape, go=go, ratio_max=ratio_max, **common
        )
    yield Case(
        name="higress/prefix_cache/16KB/16/all-escaped",
        endpoints=16,
        make_body=chats.escaped_chat,
        shape=chats.KB_16,
        **common,
    )


def _endpoint_metrics() -> Iterator[Case]:
    common: dict[str, Any] = {"target": "higress", "policy": "endpoint_metrics", "has_metrics": True}
    go = {3: 50_850_000, 16: 270_562_000, 128: 2_155_397_000}
    for endpoints in go:
        measured = {"endpoints": endpoints, "go": go[endpoints], "lb_config": {}, **common}
        yield Case(name=f"higress/endpoint_metrics/default/{endpoints}", ratio_max=0.02, **measured)
        yield Case(
            name=f"higress/endpoint_metrics/default/{endpoints}/one-in-ten-changes",
            new_scrape_every=10,
            ratio_max=0.05,
            **measured,
        )
    yield Case(
        name="higress/endpoint_metrics/default/16/adapters",
        lb_config={},
        endpoints=16,
        adapters=True,
        go=go[16],
        **common,
    )
    yield Case(
        name="higress/endpoint_metrics/default/16/explained",
        lb_config=_EXPLAINED,
        endpoints=16,
        go=go[16],
        **common,
    )
    for metric_policy, metric in (("least", "vllm:num_requests_waiting"), ("most", "vllm:kv_cache_usage_perc")):
        yield Case(
            name=f"higress/endpoint_metrics/{metric_policy}/16",
            lb_config={"metric_policy": metric_policy, "target_metric": metric},
            endpoints=16,
            **common,
        )


def _endpoint_hash() -> Iterator[Case]:
    for endpoints in (3, 16, 128):
        yield Case(
            name=f"higress/endpoint_hash/{endpoints}",
            target="higress",
            policy="endpoint_hash",
            lb_config=_REDIS,
            endpoints=endpoints,
            reply=_granted,
        )


def services(number: int) -> list[str]:
    """The names of the clusters that a policy chooses from."""
    return [f"outbound|80||model-{i}.dns" for i in range(number)]


def _cluster_metrics(target: Target) -> Iterator[Case]:
    common: dict[str, Any] = {"target": target, "policy": "cluster_metrics", "ratio_max": 0.6}
    for number, go in ((3, 194_000), (16, 833_000)):
        for mode in MODES:
            yield Case(
                name=f"{target}/cluster_metrics/{mode}/{number}",
                lb_config={"mode": mode, "service_list": services(number)},
                endpoints=number,
                go=go,
                **common,
            )
        yield Case(
            name=f"{target}/cluster_metrics/LeastBusy/{number}/rate-limit",
            lb_config={"mode": "LeastBusy", "service_list": services(number), "rate_limit": 0.6},
            endpoints=number,
            go=go,
            **common,
        )
        if target == "higress":
            config = {"mode": "AdaptiveScore", "service_list": services(number), "global_inflight_enabled": True}
            yield Case(
                name=f"{target}/cluster_metrics/AdaptiveScore/{number}/all-gateways",
                lb_config={**_REDIS, **config},
                endpoints=number,
                reply=_granted,
                go=go,
                **common,
            )


def _cluster_hash(target: Target) -> Iterator[Case]:
    for number in (3, 16):
        yield Case(
            name=f"{target}/cluster_hash/{number}",
            target=target,
            policy="cluster_hash",
            lb_config={"clusters": _weighted(services(number))},
            endpoints=number,
        )


def _weighted(clusters: Sequence[str]) -> list[dict[str, object]]:
    """Equal weights as far as they go; they sum to 100."""
    share, rest = divmod(100, len(clusters))
    return [{"cluster": name, "weight": share + (i < rest)} for i, name in enumerate(clusters)]
