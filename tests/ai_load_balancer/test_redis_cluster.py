"""The scripts on a Redis Cluster of three nodes: every call lies in one slot, wherever its route is."""

from collections.abc import Iterator

import pytest
from ai_load_balancer.policies.prefix_blocks import MAX_BLOCKS, block_keys, prefix_scope
from ai_load_balancer.scripts import (
    ACQUIRE,
    ACQUIRE_BOUNDED,
    CLUSTER_ACQUIRE,
    LIVE_COUNTS,
    RELEASE,
    RENEW,
    in_flight_keys,
    prefix_acquire,
    prefix_key_prefix,
)
from redis.cluster import RedisCluster
from redis.exceptions import ClusterCrossSlotError

from tests.redis_cluster import redis_cluster

CLUSTER = b"outbound|80||llm.dns"
ROUTES = [b"route %d" % i for i in range(12)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with redis_cluster() as client:
        yield client


def call(cluster, script, keys, *arguments):
    return cluster.eval(script.by_source[1], len(keys), *keys, *arguments)


def test_the_routes_are_on_different_nodes(cluster):
    owners = {cluster.get_node_from_key(in_flight_keys(route, CLUSTER)[0].decode()).port for route in ROUTES}
    assert len(owners) == 3


@pytest.mark.shows("defect 5")
@pytest.mark.parametrize("route", ROUTES)
def test_a_request_and_its_end(cluster, route):
    keys = in_flight_keys(route, CLUSTER)
    scope = prefix_scope(route, CLUSTER, b"model")
    blocks = block_keys(prefix_key_prefix(route, CLUSTER), scope, [b"%d" % i for i in range(MAX_BLOCKS)])
    script = prefix_acquire(len(blocks))
    for lease, matched in (("one", 0), ("two", MAX_BLOCKS)):
        reply = call(cluster, script, [*keys, *blocks], 1, 60_000, 0, 1, 60_000, "2:0.500:0", lease, 0, "a:1", "b:1")
        count = 1 + bool(matched)
        assert reply == [1, count, matched, count, 0]
    assert call(cluster, ACQUIRE, keys, 1, 60_000, 0, 0, "", "three", 0, "a:1", "b:1") == [2, 1]
    assert call(cluster, ACQUIRE_BOUNDED, keys, 1, 60_000, 1.25, 1, "", "four", "c:1", "a:1") == [1, 1, 1, 2]
    assert call(cluster, CLUSTER_ACQUIRE, keys, 1, 60_000, "five", 0, "d:1", 1) == [1, 1]
    assert call(cluster, RENEW, keys, 60_000, "one", 1, "a:1") == 0
    assert len(call(cluster, LIVE_COUNTS, keys)) == 8
    assert call(cluster, RELEASE, keys, "one", "two", "three", "four", "five") == 5


@pytest.mark.parametrize("route", ROUTES)
def test_the_services_of_all_gateways(cluster, route):
    keys = in_flight_keys(route, b"higress:adaptive_score_inflight|AdaptiveScore")
    candidates = ("outbound|80||fast.dns", 10.5, "outbound|80||slow.dns", 40)
    replies = [call(cluster, CLUSTER_ACQUIRE, keys, 1, 60_000, f"lease-{i}", i, *candidates) for i in range(5)]
    assert replies == [[1, 1], [1, 2], [1, 3], [2, 1], [1, 4]]  # 42 against 40, then 42 against 80
    assert call(cluster, RENEW, keys, 60_000, "lease-0", 1, candidates[0], "unasked", 1, candidates[2]) == 1
    live = call(cluster, LIVE_COUNTS, keys)
    assert dict(zip(live[::2], live[1::2], strict=True)) == {b"outbound|80||fast.dns": 4, b"outbound|80||slow.dns": 2}
    assert call(cluster, RELEASE, keys, *[f"lease-{i}" for i in range(5)], "unasked", "lease-0") == 6
    assert call(cluster, LIVE_COUNTS, keys) == []


def test_keys_in_two_slots_would_be_refused(cluster):
    node = cluster.get_node_from_key("{a}")
    with pytest.raises(ClusterCrossSlotError):
        cluster.execute_command("EVAL", "return 1", 2, "{a}", "{b}", target_nodes=node)
