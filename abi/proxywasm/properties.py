"""Properties of the stream, the connection, the node: bytes under a path of names."""

from collections.abc import Callable
from functools import partial

from ._host import Text, host


def get(*path: str) -> bytes | None:
    """The value at `path`, for example get("source", "address"); None if there is none."""
    return host.get_property("\0".join(path))


def set(path: tuple[str, ...], value: Text) -> None:
    """Sets the value at `path`. Raises errors.NotFound where no stream is current."""
    host.set_property("\0".join(path), value)


class Property:
    """One path, joined once. `get()` and `set(value)` are the host calls themselves."""

    __slots__ = ("get", "path", "set")

    get: Callable[[], bytes | None]
    set: Callable[[Text], None]

    def __init__(self, *path: str) -> None:
        self.path = path
        joined = "\0".join(path).encode()
        self.get = partial(host.get_property, joined)
        self.set = partial(host.set_property, joined)

    def __repr__(self) -> str:
        return f"Property{self.path!r}"
