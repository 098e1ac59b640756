"""The configuration: what is accepted, what is refused and how."""

import json

import pytest
from ai_load_balancer.config import ConfigError, parse
from ai_load_balancer.config.policies import (
    POLICIES,
    ClusterHashConfig,
    ClusterMetricsConfig,
    EndpointHashConfig,
    EndpointMetricsConfig,
    PrefixCacheConfig,
)
from ai_load_balancer.config.policy_reader import MAX_ENDPOINTS

REDIS = {"serviceFQDN": "redis.static", "servicePort": 6379}
GOOD = {"lb_policy": "global_least_request", "lb_config": REDIS}
LOCAL = {"lb_policy": "global_least_request", "endpoints": ["10.0.0.1:80", "[::1]:80"]}


def parse_dict(config, has_redis=True):
    return parse(json.dumps(config).encode(), has_redis)


def errors(config, has_redis=True):
    with pytest.raises(ConfigError) as caught:
        parse_dict(config, has_redis)
    return caught.value.errors


def with_redis(**changes):
    return {**GOOD, "lb_config": {**REDIS, **changes}}


def test_the_defaults():
    config = parse_dict(GOOD)
    redis = config.default.redis
    assert redis is not None
    assert redis.cluster == "outbound|6379||redis.static"
    assert (redis.username, redis.password, redis.timeout_ms, redis.database) == ("", "", 3000, 0)
    assert (config.default.max_request_count, config.default.endpoints, config.plugin_id) == (0, (), "")
    assert config.warnings == ()


def test_numbers_may_be_strings_and_strings_numbers():
    policy = parse_dict(
        with_redis(servicePort="6380", timeout="250", database=3.0, maxRequestCount="7", password=1234)
    ).default
    assert policy is not None
    assert policy.redis is not None
    assert policy.redis.cluster == "outbound|6380||redis.static"
    assert (policy.redis.timeout_ms, policy.redis.database, policy.redis.password) == (250, 3, "1234")
    assert policy.max_request_count == 7


def test_a_timeout_of_zero_is_the_default():
    redis = parse_dict(with_redis(timeout=0)).default.redis
    assert redis is not None
    assert redis.timeout_ms == 3000


def test_keys_of_the_reference_that_have_no_effect_are_accepted():
    config = parse_dict({**with_redis(cleanInterval=5, enableDetailLog=False), "lb_type": "endpoint"})
    assert config.warnings == ()


def test_unknown_keys_are_ignored_with_a_warning():
    config = parse_dict({**with_redis(timeOut=5), "lbPolicy": "x", "_plugin_id_": "p"})
    assert set(config.warnings) == {
        "lb_config.timeOut: unknown key, ignored; did you mean timeout?",
        "lbPolicy: unknown key, ignored; did you mean lb_policy?",
    }
    assert config.plugin_id == "p"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, [f"lb_policy: is required, one of: {', '.join(POLICIES)}; found nothing"]),
        ({**GOOD, "lb_policy": "fastest"}, [f"lb_policy: is required, one of: {', '.join(POLICIES)}; found 'fastest'"]),
        ({**GOOD, "lb_type": "node"}, ["lb_type: expected one of endpoint, cluster, found 'node'"]),
        (
            {**GOOD, "lb_type": "cluster"},
            ["lb_type: global_least_request chooses an endpoint: expected endpoint, found 'cluster'"],
        ),
        ({**GOOD, "lb_config": []}, ["lb_config: expected an object, found an array"]),
        (
            {**GOOD, "_rules_": [{}]},
            [
                "_rules_[0]: a rule needs at least one of "
                "_match_route_, _match_domain_, _match_service_, _match_route_prefix_"
            ],
        ),
        ({**GOOD, "_rules_": {}}, ["_rules_: expected a list of objects, found an object"]),
        (
            {**GOOD, "_rules_": [{"_match_route_": "a"}]},
            ["_rules_[0]._match_route_: expected a list of strings, found 'a'"],
        ),
        (with_redis(servicePort=None), ["lb_config.servicePort: is required: an integer from 1 to 65535"]),
        (with_redis(servicePort=0), ["lb_config.servicePort: expected an integer from 1 to 65535, found 0"]),
        (with_redis(servicePort="http"), ["lb_config.servicePort: expected an integer from 1 to 65535, found 'http'"]),
        (with_redis(serviceFQDN=""), ["lb_config.serviceFQDN: is required, found ''"]),
        (with_redis(serviceFQDN=["a"]), ["lb_config.serviceFQDN: expected a string, found an array"]),
        (with_redis(timeout=True), ["lb_config.timeout: expected an integer from 0 to 600000, found True"]),
        (with_redis(timeout=1.5), ["lb_config.timeout: expected an integer from 0 to 600000, found 1.5"]),
        (with_redis(database=-1), ["lb_config.database: expected an integer from 0 to 2147483647, found -1"]),
    ],
)
def test_an_error_names_the_key_what_was_found_and_what_is_allowed(config, expected):
    found = errors(config)
    assert found[: len(expected)] == expected
    if config.get("lb_config") == REDIS:
        assert len(found) == len(expected)


@pytest.mark.shows("key lb_type")
def test_every_error_is_reported():
    found = errors({"lb_policy": 1, "lb_type": 2, "lb_config": {"servicePort": "x", "timeout": []}})
    assert sorted(error.split(":")[0] for error in found) == [
        "lb_config.serviceFQDN",
        "lb_config.servicePort",
        "lb_config.timeout",
        "lb_policy",
        "lb_type",
    ]


def test_a_password_is_neither_in_errors_nor_in_the_repr():
    assert errors(with_redis(password={"secret": "s3cret"})) == [
        "lb_config.password: expected a string, found an object"
    ]
    assert "s3cret" not in repr(parse_dict(with_redis(password="s3cret")))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "the configuration is not JSON: "),
        (b"{'a': 1}", "the configuration is not JSON: "),
        (b"\xff\xfe\x00", "the configuration is not JSON: "),
        (b"[1]", "the configuration must be a JSON object, found an array"),
        (b"null", "the configuration must be a JSON object, found null"),
        (b"[" * 200_000, "the configuration is nested too deeply to be read"),
    ],
)
def test_what_is_no_json_object_is_refused(text, expected):
    with pytest.raises(ConfigError) as caught:
        parse(text, True)
    assert caught.value.errors[0].startswith(expected)


@pytest.mark.shows("key endpoints")
def test_without_redis_the_endpoints_are_listed():
    config = parse_dict({**LOCAL, "lb_config": {"maxRequestCount": 5, **REDIS}}, has_redis=False)
    assert config.default.redis is None
    assert config.default.endpoints == ("10.0.0.1:80", "[::1]:80")
    assert config.default.max_request_count == 5
    assert config.warnings == ()


@pytest.mark.parametrize("value", [None, [], "10.0.0.1:80", {}])
def test_without_redis_endpoints_are_required(value):
    (error,) = errors({**LOCAL, "endpoints": value}, has_redis=False)
    assert error.startswith('endpoints: is required here: an array of "ip:port", found ')


@pytest.mark.parametrize(
    "bad", ["10.0.0.1", "llm.local:80", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:x", "::1:80", ":80", "a, b:1", 80]
)
def test_an_endpoint_is_an_ip_and_a_port(bad):
    (error,) = errors({**LOCAL, "endpoints": ["10.0.0.1:80", bad]}, has_redis=False)
    assert error == f'endpoints[1]: expected "ip:port", found {bad!r}'


def test_endpoints_are_distinct_and_bounded():
    assert errors({**LOCAL, "endpoints": ["10.0.0.1:80"] * 2}, has_redis=False) == [
        "endpoints[1]: 10.0.0.1:80 is listed twice"
    ]
    many = [f"10.0.0.1:{port}" for port in range(1, MAX_ENDPOINTS + 2)]
    assert errors({**LOCAL, "endpoints": many}, has_redis=False) == ["endpoints: at most 1024 are allowed, found 1025"]


SERVICES = ["outbound|80||a.dns", "outbound|80||b.dns"]
HALVES = [{"cluster": "a", "weight": 50}, {"cluster": "b", "weight": "50"}]


def policy(name, lb_type="endpoint", **lb_config):
    return {"lb_policy": name, "lb_type": lb_type, "lb_config": lb_config}


@pytest.mark.shows("key lb_config.redisKeyTTL", "key lb_config.tenant_header")
def test_prefix_cache():
    config = parse_dict(policy("prefix_cache", **REDIS, redisKeyTTL="60", tenant_header="x-tenant")).default
    assert isinstance(config, PrefixCacheConfig)
    assert config.redis is not None
    assert (config.ttl_s, config.tenant_header, config.redis.service_port) == (60, "x-tenant", 6379)


@pytest.mark.parametrize("name", ["endpoint_metrics", "metrics_based"])
def test_endpoint_metrics_needs_no_lb_config_and_has_an_old_name(name):
    config = parse_dict({"lb_policy": name}).default
    assert isinstance(config, EndpointMetricsConfig)
    assert (config.metric_policy, config.rate_limit, config.slow_start_s) == ("default", 1.0, 0.0)


def test_endpoint_hash():
    config = parse_dict(policy("endpoint_hash", **REDIS)).default
    assert isinstance(config, EndpointHashConfig)
    assert (config.hash_header, config.load_factor) == ("x-mse-consumer", 1.25)


@pytest.mark.shows("key lb_config.cluster_header", "key lb_config.queue_size", "key lb_config.service_list")
def test_cluster_metrics():
    config = parse_dict(
        policy("cluster_metrics", "cluster", mode="LeastBusy", service_list=SERVICES, rate_limit="0.6")
    ).default
    assert isinstance(config, ClusterMetricsConfig)
    assert config.services == tuple(SERVICES)
    assert (config.rate_limit, config.queue_size, config.cluster_header) == (0.6, 100, "x-higress-target-cluster")
    assert (config.redis, config.reroute, config.p2c_choices) == (None, False, 2)


def test_global_in_flight_counts_need_redis():
    wanted = {"mode": "AdaptiveScore", "service_list": SERVICES, "global_inflight_enabled": "true"}
    config = parse_dict(policy("cluster_metrics", "cluster", **wanted, **REDIS)).default
    assert isinstance(config, ClusterMetricsConfig)
    assert config.redis is not None
    found = errors(policy("cluster_metrics", "cluster", **wanted))
    assert [error.split(":")[0] for error in found] == ["lb_config.serviceFQDN", "lb_config.servicePort"]
    assert errors(policy("cluster_metrics", "cluster", **wanted), has_redis=False) == [
        "lb_config.global_inflight_enabled: needs a gateway with Redis calls (Higress)"
    ]


def test_cluster_hash():
    config = parse_dict(policy("cluster_hash", "cluster", clusters=HALVES)).default
    assert isinstance(config, ClusterHashConfig)
    assert config.clusters == (("a", 50), ("b", 50))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (policy("endpoint_metrics", metric_policy="least"), "lb_config.target_metric: is required by"),
        (policy("endpoint_metrics", rate_limit=2), "lb_config.rate_limit: expected a number from 0 to 1, found 2"),
        (policy("endpoint_metrics", "cluster"), "lb_type: endpoint_metrics chooses an endpoint: expected endpoint"),
        (policy("cluster_hash", clusters=HALVES), "lb_type: cluster_hash chooses a cluster: expected cluster"),
        (policy("cluster_hash", "cluster", clusters=HALVES[:1]), "lb_config.clusters: the weights must sum to 100"),
        (policy("cluster_hash", "cluster", clusters=[5]), "lb_config.clusters[0]: expected a cluster's name and a"),
        (policy("cluster_hash", "cluster"), "lb_config.clusters: is required"),
        (policy("cluster_metrics", "cluster", service_list=SERVICES), "lb_config.mode: expected one of LeastBusy, "),
        (
            policy("cluster_metrics", "cluster", mode="LeastBusy", service_list=[]),
            "lb_config.service_list: is required",
        ),
    ],
)
def test_what_the_other_policies_refuse(config, expected):
    (error,) = errors(config)
    assert error.startswith(expected)


@pytest.mark.parametrize("name", ["global_least_request", "prefix_cache", "endpoint_hash"])
def test_where_there_is_no_redis_endpoints_are_asked_for_instead(name):
    assert errors(policy(name, **REDIS), has_redis=False) == [
        'endpoints: is required here: an array of "ip:port", found nothing'
    ]
    config = parse_dict({**policy(name, **REDIS), "endpoints": ["10.0.0.1:80"]}, has_redis=False)
    assert (config.default.redis, config.default.endpoints) == (None, ("10.0.0.1:80",))


@pytest.mark.parametrize("key", ["decision_header", "tenant_header"])
@pytest.mark.parametrize("name", ["x y", "x\n", "x:", "é", ":"])
def test_a_headers_name_is_one(key, name):
    config = {**GOOD, "lb_policy": "prefix_cache", "lb_config": {**REDIS, key: name}}
    assert errors(config) == [f"lb_config.{key}: expected a header's name, found {name!r}"]


def test_a_pseudo_header_can_be_read_but_not_written():
    for key, found in (("tenant_header", []), ("decision_header", ["lb_config.decision_header"])):
        config = {**GOOD, "lb_policy": "prefix_cache", "lb_config": {**REDIS, key: ":authority"}}
        try:
            parse_dict(config)
            paths = []
        except ConfigError as error:
            paths = [text.partition(":")[0] for text in error.errors]
        assert paths == found


SCRAPED = {**policy("endpoint_metrics", upstream_cluster="llm"), "endpoints": ["10.0.0.1:80"]}


def with_keys(config, **lb_config):
    return {**config, "lb_config": {**config["lb_config"], **lb_config}}


@pytest.mark.shows("key lb_config.upstream_cluster", "key lb_config.metrics_path", "key lb_config.scrape_interval_ms")
def test_endpoint_metrics_without_endpoint_lists():
    config = parse_dict(SCRAPED, has_redis=False).default
    assert (config.upstream_cluster, config.scrape_interval_ms, config.metrics_path) == ("llm", 1000, "/metrics")
    config = parse_dict(with_keys(SCRAPED, scrape_interval_ms="200", metrics_path="/m"), has_redis=False).default
    assert (config.scrape_interval_ms, config.metrics_path) == (200, "/m")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({**SCRAPED, "lb_config": {}}, "lb_config.upstream_cluster: is required here"),
        ({**SCRAPED, "endpoints": None}, "endpoints: is required here"),
        (with_keys(SCRAPED, scrape_interval_ms=199), "lb_config.scrape_interval_ms: expected an integer from 200 to 6"),
        (with_keys(SCRAPED, scrape_interval_ms=60_001), "lb_config.scrape_interval_ms: expected an integer from 200"),
        (with_keys(SCRAPED, metrics_path="metrics"), "lb_config.metrics_path: expected a path that begins with /"),
        (with_keys(SCRAPED, upstream_cluster=[]), "lb_config.upstream_cluster: "),
        (policy("endpoint_metrics", admin_cluster="admin"), "lb_config.upstream_cluster: is required here"),
        (policy("global_least_request", admin_cluster="admin"), "lb_config.upstream_cluster: is required here"),
        (
            {**policy("endpoint_hash", admin_cluster="admin", upstream_cluster="llm"), "endpoints": []},
            "endpoints: is required here",
        ),
    ],
)
def test_what_is_refused_without_endpoint_lists(config, expected):
    assert errors(config, has_redis=False)[0].startswith(expected)


@pytest.mark.shows("key lb_config.admin_cluster")
@pytest.mark.parametrize("name", ["global_least_request", "prefix_cache", "endpoint_metrics", "endpoint_hash"])
def test_the_admin_interface_can_stand_in_for_the_list_of_endpoints(name):
    config = parse_dict(policy(name, upstream_cluster="llm", admin_cluster="admin"), has_redis=False).default
    assert (config.endpoints, config.admin_cluster, config.upstream_cluster) == ((), "admin", "llm")


@pytest.mark.parametrize("rules", [{"lb_config": {"password": "s3cret"}}, [{"password": "s3cret"}, 1]])
def test_an_error_never_shows_a_password(rules):
    assert "s3cret" not in str(errors({**GOOD, "_rules_": rules}))
