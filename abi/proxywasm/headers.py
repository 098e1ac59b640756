"""Header maps. Their methods are the host calls themselves, bound to one map, so that a call adds no Python frame."""

from collections.abc import Callable
from functools import partial

from ._host import Pairs, Text, host
from .enums import MapType


class HeaderMap:
    """The headers or trailers of one kind, of whatever stream is current.

    - `get(name)`: the first value, or None
    - `items()`: all pairs in order, names in lower case
    - `set(name, value)`: replaces all values of the name, or adds it
    - `add(name, value)`, `remove(name)`
    - `replace_all(pairs)`: replaces the whole map
    - `size()`: bytes of all names and values

    Each raises errors.BadArgument while the map is not available or cannot be changed any more.
    """

    __slots__ = ("add", "get", "items", "remove", "replace_all", "set", "size")

    get: Callable[[Text], str | None]
    items: Callable[[], list[tuple[str, str]]]
    set: Callable[[Text, Text], None]
    add: Callable[[Text, Text], None]
    remove: Callable[[Text], None]
    replace_all: Callable[[Pairs], None]
    size: Callable[[], int]

    def __init__(self, map_type: MapType) -> None:
        number = int(map_type)
        self.get = partial(host.get_header_map_value, number)
        self.items = partial(host.get_header_map_pairs, number)
        self.set = partial(host.replace_header_map_value, number)
        self.add = partial(host.add_header_map_value, number)
        self.remove = partial(host.remove_header_map_value, number)
        self.replace_all = partial(host.set_header_map_pairs, number)
        self.size = partial(host.get_header_map_size, number)
