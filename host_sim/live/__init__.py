"""The live gateway: a real HTTP proxy on loopback that runs a plugin's very .wasm. `ailb serve` starts it."""

from .config import GatewayConfig, load_config, parse_config
from .config_section import ConfigError
from .gateway import LiveGateway

__all__ = ["ConfigError", "GatewayConfig", "LiveGateway", "load_config", "parse_config"]
