"""What counts as a healthy endpoint, and that equal answers are read once."""

import json

import pytest
from ai_load_balancer.upstream_hosts import MAX_CLUSTERS, UpstreamHosts, healthy_endpoints, is_healthy
from proxywasm import higress

# Metrics text that says the opposite of the status, in the words of the description.
MISLEADING = 'note{text="\\"health_status\\":\\"Healthy\\"", "health_status":"Healthy"} 1'


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("status", ["Healthy", "Unhealthy", "Degraded", "healthy", "", None, 1])
@pytest.mark.parametrize("metrics", [None, MISLEADING, MISLEADING.replace("Healthy", "Unhealthy")])
@pytest.mark.parametrize("metrics_first", [True, False])
def test_only_the_status_counts(separators, status, metrics, metrics_first):
    description = {"health_status": status}
    if metrics is not None:
        description = {"metrics": metrics, **description} if metrics_first else {**description, "metrics": metrics}
    assert is_healthy(json.dumps(description, separators=separators)) == (status == "Healthy")


@pytest.mark.parametrize("text", ["", "not JSON", "[]", "null", "{}", "[" * 100_000, '{"health_status": ["Healthy"]}'])
def test_a_description_that_cannot_be_read_is_not_healthy(text):
    assert not is_healthy(text)


def test_healthy_endpoints_keep_their_order():
    hosts = [("b:1", '{"health_status":"Healthy"}'), ("c:1", "{}"), ("a:1", '{"health_status":"Healthy"}')]
    assert healthy_endpoints(hosts) == ["b:1", "a:1"]


@pytest.fixture
def decoded(monkeypatch):
    """The answers that were decoded; an answer is its one address."""
    decoded = []

    def decode(answer):
        decoded.append(answer)
        return [(answer.decode(), '{"health_status":"Healthy"}')]

    monkeypatch.setattr(higress, "decode_upstream_hosts", decode)
    return decoded


def test_an_equal_answer_is_read_once(decoded):
    hosts = UpstreamHosts()
    assert hosts.healthy(b"c", b"a:1") == ("a:1",)
    assert hosts.healthy(b"c", bytes(bytearray(b"a:1"))) == ("a:1",)
    assert hosts.healthy(b"c", b"b:1") == ("b:1",)
    assert decoded == [b"a:1", b"b:1"]


def test_clusters_do_not_displace_each_other(decoded):
    hosts = UpstreamHosts()
    for _ in range(3):
        assert hosts.healthy(b"c", b"a:1") == ("a:1",)
        assert hosts.healthy(b"d", b"b:1") == ("b:1",)
    assert decoded == [b"a:1", b"b:1"]


def test_the_clusters_are_bounded(decoded):
    hosts = UpstreamHosts()
    for i in range(3 * MAX_CLUSTERS):
        hosts.healthy(b"%d" % i, b"a:1")
    assert len(hosts._seen) <= MAX_CLUSTERS
