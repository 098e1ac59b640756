"""The host calls: what each function of the ABI does, once, for every guest.

Each is a function of the VM and of Python values (bytes, int, pairs); it returns its results and raises HostCallError
for a status other than OK. `CALLS` maps the ABI names to them.
"""

from . import bodies, callouts, foreign, grpc, headers, lifecycle, properties, redis, shared, streams
from .registry import CALLS

__all__ = [
    "CALLS",
    "bodies",
    "callouts",
    "foreign",
    "grpc",
    "headers",
    "lifecycle",
    "properties",
    "redis",
    "shared",
    "streams",
]
