"""The plugin's configuration: JSON in, frozen dataclasses out, or every error at once."""

from .document import Config, PolicyConfig, parse
from .policies import LeastRequestConfig, RedisConfig
from .reader import ConfigError
from .rules import Request, Rule

__all__ = ["Config", "ConfigError", "LeastRequestConfig", "PolicyConfig", "RedisConfig", "Request", "Rule", "parse"]
