"""Foreign functions: what a host offers beyond the ABI, by name (`clear_route_cache`, `compress`, ...)."""

from ._host import Text, host


def call(name: str, argument: Text = b"") -> bytes:
    """The function's result. Raises errors.NotFound if the host has no function of that name."""
    return host.call_foreign_function(name, argument)


def clear_route_cache() -> None:
    """Makes stock Envoy choose the route anew, with the headers as they are now."""
    host.call_foreign_function("clear_route_cache", b"")
