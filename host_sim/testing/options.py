"""What a test says about its plugin and the gateway around it, for every kind of host."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..abi import Target
from ..upstream import UpstreamScript, name_itself

Addresses: TypeAlias = Mapping[str, Sequence[str]]
Configuration: TypeAlias = Mapping[str, Any] | str
DEFAULT_CLUSTERS: Addresses = {"upstream": ["10.0.0.1:80"]}


@dataclass(frozen=True)
class PluginOptions:
    """`plugin` is "module:Class", importable from `python_path` (folders).

    `config`: the plugin's configuration; a function gets the addresses of the clusters, which a real Envoy chooses.
    `clusters`: name to endpoints; requests go to the first. `upstream`: what the endpoints answer.
    `simulator`: further options of Simulator (redis, seed, fuel, ...), which no real Envoy has.
    """

    plugin: str
    python_path: Sequence[str] = ()
    target: Target = "envoy"
    config: "Configuration | Callable[[Addresses], Configuration]" = ""
    vm_config: str = ""
    name: str = "plugin"
    clusters: Addresses = field(default_factory=lambda: DEFAULT_CLUSTERS)
    upstream: UpstreamScript = name_itself
    allow_on_headers_stop_iteration: bool = False
    simulator: Mapping[str, Any] = field(default_factory=dict)

    def configuration(self, clusters: Addresses) -> str:
        config = self.config(clusters) if callable(self.config) else self.config
        return config if isinstance(config, str) else json.dumps(config)
