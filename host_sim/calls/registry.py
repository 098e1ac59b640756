"""Where host calls register themselves."""

from collections.abc import Callable
from typing import Any, TypeVar

CALLS: dict[str, Callable[..., Any]] = {}

Function = TypeVar("Function", bound=Callable[..., Any])


def host_call(function: Function) -> Function:
    """Register `function` as the host call `proxy_<its name>`."""
    CALLS[f"proxy_{function.__name__}"] = function
    return function
