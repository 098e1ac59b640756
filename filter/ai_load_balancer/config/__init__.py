"""The plugin's configuration: JSON in, frozen dataclasses out, or every error at once."""

from .document import Config, parse
from .policies import (
    ClusterHashConfig,
    ClusterMetricsConfig,
    Connection,
    EndpointConfig,
    EndpointHashConfig,
    EndpointMetricsConfig,
    ExplainedConfig,
    LeaseConfig,
    LeastRequestConfig,
    PolicyConfig,
    PrefixCacheConfig,
    RedisConfig,
)
from .reader import ConfigError
from .rules import Request, Rule

__all__ = [
    "ClusterHashConfig",
    "ClusterMetricsConfig",
    "Config",
    "ConfigError",
    "Connection",
    "EndpointConfig",
    "EndpointHashConfig",
    "EndpointMetricsConfig",
    "ExplainedConfig",
    "LeaseConfig",
    "LeastRequestConfig",
    "PolicyConfig",
    "PrefixCacheConfig",
    "RedisConfig",
    "Request",
    "Rule",
    "parse",
]
