"""gateway.yaml: the listeners, the plugin, routes, clusters with their health checks, Redis. docs/serve.md explains it.

Relative paths are relative to the file's folder.
"""

import ipaddress
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from proxywasm.enums import LogLevel

from ..abi import Target
from ..errors import SimulatorError
from ..gateway import BUFFER_SIZE_MAX, FailurePolicy, Plugin
from ..routes import Route
from ..setup import configuration_bytes, redis_backend
from .config_section import REQUIRED, ConfigError, Section, shown

EMBEDDED = "embedded"
ENDPOINTS_MAX = 1024  # as many pairs as a host puts into one map
DURATION_MS_MAX = 600_000
THRESHOLD_MAX = 1000
BUFFER_SIZE_LIMIT = 1 << 30
FAILURE_POLICIES: tuple[FailurePolicy, ...] = ("FAIL_CLOSED", "FAIL_OPEN", "FAIL_RELOAD")
LOG_LEVELS = tuple(level.name.lower() for level in LogLevel)


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int  # 0: a free one

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """HTTP GET `path` of every endpoint; 200 is a success. Thresholds count results in a row."""

    path: str
    interval_ms: int
    timeout_ms: int
    healthy_threshold: int
    unhealthy_threshold: int
    store_metrics: bool


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    name: str
    endpoints: tuple[str, ...]
    health_check: HealthCheck | None


@dataclass(frozen=True, slots=True)
class PluginConfig:
    """`source`: the path of a .wasm, or "module:Class" for the native guest."""

    source: Path | str
    target: Target
    plugin: Plugin
    log_level: LogLevel
    buffer_size_max: int
    allow_on_headers_stop_iteration: bool


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """`redis`: cluster name to "redis://host:port", "embedded", or None for a cluster without a host.

    `files` are those that the configuration was made from, the plugin's .wasm among them.
    """

    listen: Address
    admin: Address | None
    drain_timeout_ms: int
    plugin: PluginConfig
    routes: tuple[Route, ...]
    clusters: tuple[ClusterConfig, ...]
    redis: Mapping[str, str | None]
    files: tuple[Path, ...] = field(default=(), compare=False)


def load_config(path: Path) -> GatewayConfig:
    """Raises ConfigError, with all mistakes at once."""
    try:
        text = path.read_text()
    except (OSError, UnicodeError) as error:
        raise ConfigError([f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"]) from error
    return parse_config(text, path)


def parse_config(text: str, path: Path) -> GatewayConfig:
    try:
        document = yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError([f"{path} is not YAML: {error}"]) from error
    if not isinstance(document, dict):
        raise ConfigError([f"{path}: expected a mapping, found {shown(document)}"])
    problems: list[str] = []
    config = _gateway(Section(document, "", problems), path)
    if problems:
        raise ConfigError([f"{path}: {problem}" for problem in problems])
    return config


class _Loader(yaml.SafeLoader):
    """A key that is given twice is a mistake, not the last one's silent win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _gateway(top: Section, path: Path) -> GatewayConfig:
    listen = _loopback(top, "listen", "127.0.0.1:8080")
    admin = None if top.raw("admin") is False else _loopback(top, "admin", "127.0.0.1:9901")
    files = [path]
    plugin = _plugin(top.section("plugin"), path.parent, files)
    clusters = _clusters(top.section("clusters"))
    config = GatewayConfig(
        listen=listen,
        admin=admin,
        drain_timeout_ms=top.integer("drain_timeout_ms", 10_000, 0, DURATION_MS_MAX),
        plugin=plugin,
        routes=_routes(top, [cluster.name for cluster in clusters]),
        clusters=clusters,
        redis=_redis(top.section("redis")),
        files=tuple(files),
    )
    top.finish()
    return config


def _loopback(section: Section, key: str, default: str) -> Address:
    text = section.text(key, default, what := "a loopback address as 127.0.0.1:8080 or [::1]:8080 (port 0: a free one)")
    address = _address(text)
    if address is not None and ipaddress.ip_address(address.host).is_loopback:
        return address
    if text:
        section.expected(key, what)
    return Address("127.0.0.1", 0)


def _address(text: str) -> Address | None:
    """ip:port; IPv6 in brackets."""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        ip = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        return None
    if bracketed != (ip.version == 6) or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        return None
    return Address(str(ip), int(port))


def _plugin(section: Section, folder: Path, files: list[Path]) -> PluginConfig:
    source: Path | str = ""
    if "wasm" in section and "native" in section:
        section.problem("native", "wasm is given too; one of both is allowed")
    if "native" in section:
        section.raw("wasm")
        source = section.text("native", REQUIRED, "module:Class")
        if source and not all(source.partition(":")):
            section.expected("native", "module:Class")
    else:
        section.raw("native")
        name = section.text("wasm", REQUIRED, "the path of a .wasm (or native: module:Class)")
        source = folder / name
        if name:
            files.append(source)
            if not source.is_file():
                section.problem("wasm", f"there is no file {source}")
    name = section.text("name", "plugin")
    plugin = Plugin(
        configuration=_configuration(section, folder, files),
        name=name,
        root_id=section.text("root_id", name),
        vm_id=section.text("vm_id", "vm"),
        vm_configuration=section.text("vm_config", "").encode(),
        failure_policy=_failure_policy(section),
    )
    target: Target = "envoy" if section.choice("target", "higress", ("higress", "envoy")) == "envoy" else "higress"
    config = PluginConfig(
        source,
        target,
        plugin,
        LogLevel[section.choice("log_level", "info", LOG_LEVELS).upper()],
        section.integer("buffer_size_max", BUFFER_SIZE_MAX, 1, BUFFER_SIZE_LIMIT),
        section.boolean("allow_on_headers_stop_iteration", False),
    )
    section.finish()
    return config


def _failure_policy(section: Section) -> FailurePolicy:
    chosen = section.choice("failure_policy", "FAIL_CLOSED", FAILURE_POLICIES)
    return next(policy for policy in FAILURE_POLICIES if policy == chosen)


def _configuration(section: Section, folder: Path, files: list[Path]) -> bytes:
    """`config`: a mapping, passed on as JSON, or a text as it is; or `config_file`."""
    value, file = section.raw("config"), section.text("config_file", "")
    if value is not None and file:
        section.problem("config_file", "config is given too; one of both is allowed")
    elif file:
        files.append(folder / file)
        try:
            return (folder / file).read_bytes()
        except OSError as error:
            section.problem("config_file", f"{folder / file} cannot be read: {error.strerror}")
    elif value is not None and not isinstance(value, dict | str):
        section.expected("config", "a mapping or a text")
    elif value is not None:
        try:
            return configuration_bytes(value)
        except TypeError as error:  # a YAML date, for example
            section.problem("config", f"cannot be written as JSON: {error}")
    return b""


def _routes(top: Section, clusters: list[str]) -> tuple[Route, ...]:
    routes: list[Route] = []
    for section in top.sections("routes", "a list of routes, each with name and cluster"):
        route = Route(
            name=section.text("name", REQUIRED),
            cluster=section.text("cluster", REQUIRED, "the name of a cluster"),
            cluster_header=section.text("cluster_header", ""),
            prefix=section.text("prefix", "/"),
            domains=section.texts("domains", ("*",), "domains"),
        )
        if route.cluster and route.cluster not in clusters:
            section.expected("cluster", f"one of the clusters ({', '.join(clusters) or 'there are none'})")
        if not route.prefix.startswith("/"):
            section.expected("prefix", "a path that begins with /")
        if route.name and route.name in [other.name for other in routes]:
            section.problem("name", f"{route.name!r} is the name of another route")
        section.finish()
        routes.append(route)
    return tuple(routes)


def _clusters(section: Section) -> tuple[ClusterConfig, ...]:
    clusters = [_cluster(name, section.section(name)) for name in section.names()]
    if not clusters:
        section.problems.append("clusters: is required: a mapping of cluster names to their endpoints")
    return tuple(clusters)


def _cluster(name: str, section: Section) -> ClusterConfig:
    what = "ip:port"
    endpoints: tuple[str, ...] = ()
    if section.raw("endpoints") != []:  # a cluster may be empty
        endpoints = section.texts("endpoints", REQUIRED, what)
    for at, endpoint in enumerate(endpoints):
        key = f"endpoints[{at}]"
        address = _address(endpoint)
        if address is None or not address.port:
            section.problem(
                key, f"expected {what}, found {shown(endpoint)}; a plugin chooses by these, not by host names"
            )
        elif endpoint in endpoints[:at]:
            section.problem(key, f"{endpoint} is listed twice")
    if len(endpoints) > ENDPOINTS_MAX:
        section.problem("endpoints", f"at most {ENDPOINTS_MAX} are allowed, found {len(endpoints)}")
    check = _health_check(section.section("health_check")) if section.raw("health_check") is not None else None
    section.finish()
    return ClusterConfig(name, endpoints, check)


def _health_check(section: Section) -> HealthCheck:
    check = HealthCheck(
        path=section.text("path", REQUIRED, "a path, as /health"),
        interval_ms=section.integer("interval_ms", 1000, 1, DURATION_MS_MAX),
        timeout_ms=section.integer("timeout_ms", 1000, 1, DURATION_MS_MAX),
        healthy_threshold=section.integer("healthy_threshold", 1, 1, THRESHOLD_MAX),
        unhealthy_threshold=section.integer("unhealthy_threshold", 2, 1, THRESHOLD_MAX),
        store_metrics=section.boolean("store_metrics", False),
    )
    if check.path and not check.path.startswith("/"):
        section.expected("path", "a path that begins with /")
    section.finish()
    return check


def _redis(section: Section) -> dict[str, str | None]:
    what = f"redis://host:port, {EMBEDDED}, or nothing for a cluster without a host"
    servers: dict[str, str | None] = {}
    for name in section.names():
        value = section.raw(name)
        servers[name] = value
        if isinstance(value, str) and "@" in value:
            section.problem(name, "expected no user or password: they belong in the plugin's configuration")
        elif value is not None and value != EMBEDDED and not _is_redis_url(value):
            section.expected(name, what)
    return servers


def _is_redis_url(value: object) -> bool:
    try:
        return isinstance(value, str) and redis_backend(value) is not None
    except (SimulatorError, ValueError):
        return False
