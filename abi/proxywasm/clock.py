"""The host's clock."""

from collections.abc import Callable

from ._host import host

now_ns: Callable[[], int] = host.get_current_time_nanoseconds
"""now_ns() -> nanoseconds since the epoch."""
