"""Envoy's bootstrap configuration: listeners with wasm plugins, and their clusters.

Listeners and admin take port 0: Envoy picks free ports and tells them, so that nobody can take a port in between.
HTTP/1.1 trailers are switched on in both directions.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

DESTINATION_HEADER = "x-gateway-destination-endpoint"
LISTENER_NAME = "ingress"
ROUTE_NAME = "chat"
DEFAULT_BUFFER_LIMIT_BYTES = 1024 * 1024  # Envoy's own

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Endpoints (`ip:port`) behind the override_host policy; round robin serves where the header names none of them."""

    name: str
    endpoints: Sequence[str]


@dataclass(frozen=True, slots=True)
class Plugin:
    """A module and how it is run. A `str` configuration goes to the plugin as it is, anything else as JSON.

    `allow_on_headers_stop_iteration`: without it a 1 from the headers callback stops the body callbacks too.
    """

    module: Path
    configuration: Mapping[str, object] | str = ""
    allow_on_headers_stop_iteration: bool = True
    failure_policy: Literal["FAIL_CLOSED", "FAIL_OPEN", "FAIL_RELOAD"] = "FAIL_CLOSED"
    name: str = "ai-load-balancer"
    vm_id: str | None = None  # None: as the name; plugins of one module with one vm_id and vm_configuration share a VM
    vm_configuration: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)  # the environment that the plugin sees


@dataclass(frozen=True, slots=True)
class Listener:
    """A port whose requests go through `plugins`, in order, and on to `cluster` (None: the first of all).

    A plugin can hold back `buffer_limit_bytes` of a body. `cluster_header`: the request header that names the cluster.
    """

    name: str = LISTENER_NAME
    plugins: Sequence[Plugin] = ()
    cluster: str | None = None
    cluster_header: str | None = None
    buffer_limit_bytes: int = DEFAULT_BUFFER_LIMIT_BYTES


def bootstrap(
    clusters: Sequence[Cluster],
    plugin: Plugin | None = None,
    buffer_limit_bytes: int = DEFAULT_BUFFER_LIMIT_BYTES,
    listeners: Sequence[Listener] | None = None,
) -> Json:
    """A complete configuration. Without `listeners` there is one, for `plugin` if there is one."""
    plugins = [plugin] if plugin is not None else []
    listeners = listeners or [Listener(plugins=plugins, buffer_limit_bytes=buffer_limit_bytes)]
    return {
        "admin": {"address": _address("127.0.0.1:0")},
        "static_resources": {
            "listeners": [_listener(clusters[0].name, listener) for listener in listeners],
            "clusters": [_cluster(cluster) for cluster in clusters],
        },
    }


def _typed(type_name: str, **fields: object) -> Json:
    return {"@type": f"type.googleapis.com/{type_name}", **fields}


def _address(address: str) -> Json:
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _listener(first_cluster: str, listener: Listener) -> Json:
    target = {"cluster_header": listener.cluster_header} if listener.cluster_header else {}
    target = target or {"cluster": listener.cluster or first_cluster}
    route = {"name": ROUTE_NAME, "match": {"prefix": "/"}, "route": {**target, "timeout": "0s"}}
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": _typed("envoy.extensions.filters.http.router.v3.Router"),
    }
    manager = _typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=listener.name,
        http_protocol_options={"enable_trailers": True},
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        http_filters=[*(_wasm_filter(plugin) for plugin in listener.plugins), router],
    )
    network_filter = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    return {
        "name": listener.name,
        "address": _address("127.0.0.1:0"),
        "per_connection_buffer_limit_bytes": listener.buffer_limit_bytes,
        "filter_chains": [{"filters": [network_filter]}],
    }


def _wasm_filter(plugin: Plugin) -> Json:
    configuration = plugin.configuration
    text = configuration if isinstance(configuration, str) else json.dumps(configuration)
    config = {
        "name": plugin.name,
        "root_id": plugin.name,
        "failure_policy": plugin.failure_policy,
        "allow_on_headers_stop_iteration": plugin.allow_on_headers_stop_iteration,
        "configuration": _typed("google.protobuf.StringValue", value=text),
        "vm_config": {
            "vm_id": plugin.name if plugin.vm_id is None else plugin.vm_id,
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": str(plugin.module)}},
            "configuration": _typed("google.protobuf.StringValue", value=plugin.vm_configuration),
            "environment_variables": {"key_values": dict(plugin.variables)},
        },
    }
    return {
        "name": "envoy.filters.http.wasm",
        "typed_config": _typed("envoy.extensions.filters.http.wasm.v3.Wasm", config=config),
    }


def _cluster(cluster: Cluster) -> Json:
    endpoints = [{"endpoint": {"address": _address(endpoint)}} for endpoint in cluster.endpoints]
    round_robin = _policy("round_robin", "RoundRobin")
    override_host = _policy(
        "override_host",
        "OverrideHost",
        override_host_sources=[{"header": DESTINATION_HEADER}],
        fallback_policy={"policies": [round_robin]},
    )
    http_options = _typed(
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config={"http_protocol_options": {"enable_trailers": True}},
    )
    return {
        "name": cluster.name,
        "type": "STATIC",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http_options},
        "connect_timeout": "1s",
        "load_balancing_policy": {"policies": [override_host]},
        "load_assignment": {"cluster_name": cluster.name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def _policy(name: str, message: str, **fields: object) -> Json:
    typed_config = _typed(f"envoy.extensions.load_balancing_policies.{name}.v3.{message}", **fields)
    return {
        "typed_extension_config": {"name": f"envoy.load_balancing_policies.{name}", "typed_config": typed_config},
    }
