"""Rules: which requests each kind of match takes, which kind counts, and what a request gets from them."""

import json
from typing import NamedTuple

import pytest
from ai_load_balancer.config import ConfigError, LeastRequestConfig, parse
from ai_load_balancer.config.rules import Request, without_port

from host_sim import HttpStream, SteppedRedis, SteppedSimulator

REDIS = {"serviceFQDN": "redis.static", "servicePort": 6379}
REDIS_CLUSTER = "outbound|6379||redis.static"
GLOBAL = {"lb_policy": "global_least_request", "lb_config": {**REDIS, "maxRequestCount": 1}}
CLUSTER = "outbound|80||llm.dns"


class KnownRequest(NamedTuple):
    route: str
    authority: str
    cluster: str


def limit_for(request: Request, *rules: dict[str, object], **global_values: object) -> int | None:
    """The limit in the configuration that a request gets, None if it gets none. The rules set 10, 11 and so on."""
    numbered = [{**rule, "lb_config": {"maxRequestCount": 10 + i}} for i, rule in enumerate(rules)]
    config = parse(json.dumps({**(global_values or GLOBAL), "_rules_": numbered}).encode(), True)
    found = next((rule.config for rule in config.rules if rule.matches(request)), config.default)
    return found.max_request_count if isinstance(found, LeastRequestConfig) else None


def request(route: str = "chat", authority: str = "llm.example", cluster: str = CLUSTER) -> Request:
    return KnownRequest(route, authority, cluster)


@pytest.mark.shows("key _match_route_", "key _match_domain_", "key _match_service_", "key _match_route_prefix_")
@pytest.mark.parametrize(
    ("rule", "matching", "other"),
    [
        ({"_match_route_": ["a", "chat"]}, request(), request(route="chat-2")),
        ({"_match_route_": ["chat"]}, request(), request(route="Chat")),
        ({"_match_domain_": ["llm.example"]}, request(), request(authority="LLM.example")),
        ({"_match_domain_": ["llm.example"]}, request(authority="llm.example:8080"), request(authority="llm.examples")),
        ({"_match_domain_": ["*.example"]}, request(), request(authority="example")),
        ({"_match_domain_": ["llm.*"]}, request(authority="llm.other:1"), request(authority="an-llm.other")),
        ({"_match_domain_": ["[::1]"]}, request(authority="[::1]:80"), request(authority="[::2]:80")),
        ({"_match_service_": ["llm.dns"]}, request(), request(cluster="outbound|80||llm.dns.other")),
        ({"_match_service_": ["llm.dns:80"]}, request(), request(cluster="outbound|81||llm.dns")),
        ({"_match_service_": ["llm.dns"]}, request(), request(cluster="llm.dns")),
        ({"_match_route_prefix_": ["ch"]}, request(), request(route="a-chat")),
        ({"_match_route_": ["chat"], "_match_service_": ["llm.dns"]}, request(), request(cluster="outbound|80||x.dns")),
        ({"_match_route_": ["chat"], "_match_service_": ["llm.dns"]}, request(), request(route="other")),
        # A list of a higher category makes those of lower ones count for nothing.
        (
            {"_match_route_": ["chat"], "_match_domain_": ["nowhere"]},
            request(),
            request(route="x", authority="nowhere"),
        ),
        ({"_match_domain_": ["llm.example"], "_match_service_": ["x"]}, request(), request(authority="x")),
        ({"_match_service_": ["llm.dns"], "_match_route_prefix_": ["x"]}, request(), request(route="x", cluster="y")),
    ],
)
def test_a_match(rule: dict[str, object], matching: Request, other: Request):
    assert limit_for(matching, rule) == 10
    assert limit_for(other, rule) == 1


def test_the_first_rule_that_matches_counts():
    rules: list[dict[str, object]] = [
        {"_match_route_": ["other"]},
        {"_match_route_prefix_": ["ch"]},
        {"_match_route_": ["chat"]},
    ]
    assert limit_for(request(), *rules) == 11


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("llm.example", "llm.example"),
        ("llm.example:80", "llm.example"),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
        ("::1", "::1"),
        ("", ""),
        (":80", ""),
    ],
)
def test_ports_are_stripped(authority: str, host: str):
    assert without_port(authority) == host


def parsed(config: dict[str, object]):
    return parse(json.dumps(config).encode(), True)


def test_a_rule_inherits_what_it_does_not_say():
    config = parsed({**GLOBAL, "_rules_": [{"_match_route_": ["a"], "lb_config": {"timeout": 7}}]})
    (rule,) = config.rules
    assert rule.config.max_request_count == 1
    assert rule.config.redis.timeout_ms == 7
    assert rule.config.redis.cluster == REDIS_CLUSTER


def test_a_rule_with_a_policy_stands_alone():
    rule = {"_match_route_": ["a"], "lb_policy": "global_least_request", "lb_config": {"serviceFQDN": "other.dns"}}
    with pytest.raises(ConfigError) as caught:
        parsed({**GLOBAL, "_rules_": [rule]})
    assert caught.value.errors == ["_rules_[0].lb_config.servicePort: is required: an integer from 1 to 65535"]


def test_rules_may_be_all_there_is():
    config = parsed({"_rules_": [{**GLOBAL, "_match_route_": ["a"]}]})
    assert config.default is None
    assert len(config.rules) == 1


def test_a_broken_global_configuration_is_left_out_where_there_are_rules():
    config = parsed({"lb_policy": "x", "_rules_": [{**GLOBAL, "_match_route_": ["a"]}]})
    assert config.default is None
    (policy, *_) = [warning for warning in config.warnings if warning.startswith("lb_policy")]
    assert policy.endswith("found 'x' (the global configuration is left out)")


def test_a_broken_rule_is_an_error():
    with pytest.raises(ConfigError) as caught:
        parsed({**GLOBAL, "_rules_": [{"_match_route_": ["a"], "lb_config": {"servicePort": 0}}]})
    assert caught.value.errors == ["_rules_[0].lb_config.servicePort: expected an integer from 1 to 65535, found 0"]


def test_no_rule_and_no_global_configuration_is_an_error():
    with pytest.raises(ConfigError):
        parsed({"_rules_": []})


def send(sim: SteppedSimulator, authority: str) -> HttpStream:
    stream = sim.open_stream()
    stream.request_headers({":method": "GET", ":path": "/", ":authority": authority})
    return stream


@pytest.mark.shows("key _rules_")
def test_each_request_gets_the_driver_of_its_rule(higress_guest: str):
    config = {
        "_rules_": [
            {**GLOBAL, "_match_domain_": ["one.example"]},
            {**GLOBAL, "lb_config": {**REDIS, "maxRequestCount": 2}, "_match_domain_": ["two.example"]},
        ]
    }
    clusters = {CLUSTER: ["10.0.0.1:80", "10.0.0.2:80"]}
    sim = SteppedSimulator(higress_guest, "higress", config, clusters, {REDIS_CLUSTER: SteppedRedis()})
    first, second, neither = (send(sim, f"{name}.example") for name in ("one", "two", "three"))
    assert [command[8] for command in sim.redis_commands()] == [b"1", b"2"]
    assert (first.paused, second.paused, neither.paused) == (True, True, False)
    assert not neither.overridden
    for stream in (first, second):
        sim.deliver_redis([2, 1])
        assert stream.endpoint is not None
        assert stream.endpoint.address == "10.0.0.2:80"
    for stream in (first, second, neither):
        stream.response_headers({":status": "200"})
    assert [command[0] for command in sim.redis_commands()] == [b"EVALSHA"] * 2  # the leases go back
    for _ in range(2):
        sim.deliver_redis(1)
    sim.finish()


def test_the_configuration_that_a_request_got_can_be_seen():
    """As Higress's test host shows the matched rule's configuration: where the filter runs natively."""
    limits = {"one": 5, "two": 7}
    rules = [
        {**GLOBAL, "lb_config": {**REDIS, "maxRequestCount": limit}, "_match_domain_": [f"{name}.example"]}
        for name, limit in limits.items()
    ]
    clusters = {CLUSTER: ["10.0.0.1:80"]}
    plugin = "ai_load_balancer.plugin:AiLoadBalancer"
    sim = SteppedSimulator(plugin, "higress", {"_rules_": rules}, clusters, {REDIS_CLUSTER: SteppedRedis()})
    for name, limit in limits.items():
        context = sim.python_context(send(sim, f"{name}.example"))
        assert context.driver.limit == limit
    assert sim.python_context().plugin_id == ""
    sim.close()


def test_a_client_that_goes_away_under_a_rule_leaves_nothing(higress_guest: str):
    config = {"_rules_": [{**GLOBAL, "_match_domain_": ["one.example"]}]}
    sim = SteppedSimulator(
        higress_guest, "higress", config, {CLUSTER: ["10.0.0.1:80"]}, {REDIS_CLUSTER: SteppedRedis()}
    )
    stream = send(sim, "one.example")
    [acquire] = sim.redis_commands()
    stream.abort()
    sim.deliver_redis([1, 1])
    [release] = sim.redis_commands()
    assert release[-1] == acquire[11]  # the lease's id
    sim.deliver_redis(1)
    sim.finish()
