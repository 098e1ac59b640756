"""What a target offers, as data: a plugin asks here instead of comparing target names."""

from dataclasses import dataclass

from .enums import Action, HeaderAction
from .properties import Property


@dataclass(frozen=True, slots=True)
class Capabilities:
    """One target.

    - `redis`, `upstream_hosts`, `override_host`, `inject_encoded_data`: the host has these calls
    - `keeps_route_cache`: the property `clear_route_cache` = `off` keeps the route when a request header changes;
      elsewhere foreign.clear_route_cache() asks for another route (Envoy 1.40 looks for one by itself)
    - `hold_request`: what on_request_headers returns to hold the whole request until streams.continue_request()
    - `route_name`, `cluster_name`: where the host tells them
    """

    target: str
    redis: bool
    upstream_hosts: bool
    override_host: bool
    inject_encoded_data: bool
    keeps_route_cache: bool
    hold_request: int
    route_name: Property
    cluster_name: Property


HIGRESS = Capabilities(
    target="higress",
    redis=True,
    upstream_hosts=True,
    override_host=True,
    inject_encoded_data=True,
    keeps_route_cache=True,
    # The module selects ABI 0.2.100 here, where 1 would stop the headers alone and let the body come.
    hold_request=int(HeaderAction.STOP_ALL_ITERATION_AND_WATERMARK),
    route_name=Property("route_name"),
    cluster_name=Property("cluster_name"),
)

ENVOY = Capabilities(
    target="envoy",
    redis=False,
    upstream_hosts=False,
    override_host=False,
    inject_encoded_data=False,
    keeps_route_cache=False,
    hold_request=int(Action.PAUSE),
    route_name=Property("xds", "route_name"),
    cluster_name=Property("xds", "cluster_name"),
)

TARGETS = {capabilities.target: capabilities for capabilities in (HIGRESS, ENVOY)}

_current: Capabilities | None = None


def current() -> Capabilities:
    """Those of the target that this VM was started for."""
    if _current is None:
        raise RuntimeError("no target is chosen yet: proxywasm.vm.start(root_class, target) does it")
    return _current


def choose(target: str) -> Capabilities:
    """Makes a target the current one. Raises ValueError for an unknown name."""
    global _current
    if target not in TARGETS:
        raise ValueError(f"unknown target {target!r}: expected one of {', '.join(sorted(TARGETS))}")
    _current = TARGETS[target]
    return _current
