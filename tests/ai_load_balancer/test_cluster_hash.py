"""cluster_hash: the same cluster for the same value, as the reference hashes."""

from collections import Counter

import pytest
from ai_load_balancer.policies import cluster_hash
from ai_load_balancer.policies.cluster_hash import ClusterHash, fnv1a_32
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"", 0x811C9DC5), (b"a", 0xE40C292C), (b"b", 0xE70C2DE5), (b"foobar", 0xBF9CF968)],
)
def test_the_published_vectors_of_fnv(data, expected):
    assert fnv1a_32(data) == expected


@pytest.mark.parametrize(("value", "slot"), [("a", 20), ("b", 77)])
def test_the_slot_is_the_hash_modulo_100_over_the_clusters_in_their_order(value, slot):
    assert ClusterHash([("first", slot), ("second", 100 - slot)]).choose(value) == "second"
    assert ClusterHash([("first", slot + 1), ("second", 99 - slot)]).choose(value) == "first"


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_value_there_is_no_cluster(value):
    assert ClusterHash([("only", 100)]).choose(value) is None


def test_clusters_get_their_shares():
    policy = ClusterHash([("big", 70), ("small", 20), ("tiny", 10)])
    counts = Counter(policy.choose(f"consumer-{i}") for i in range(10_000))
    assert 6600 < counts["big"] < 7400
    assert 1700 < counts["small"] < 2300
    assert 800 < counts["tiny"] < 1200


@given(st.binary(max_size=200).map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_a_value_is_hashed_once_and_alike(value):
    policy = ClusterHash([("first", 50), ("second", 50)])
    assert policy.choose(value) == policy.choose(value) == ClusterHash([("first", 50), ("second", 50)]).choose(value)


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(cluster_hash, "MAX_REMEMBERED", 10)
    policy = ClusterHash([("only", 100)])
    for i in range(100):
        assert policy.choose(f"value {i}") == "only"
        assert policy.choose("x" * (129 + i)) == "only"
        assert len(policy._remembered) <= 10
        assert max(map(len, policy._remembered)) < 20


def test_weights_must_sum_to_100():
    with pytest.raises(ValueError, match="must sum to 100, found 99"):
        ClusterHash([("a", 50), ("b", 49)])
