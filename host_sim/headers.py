"""A header map: ordered, several values per name, names in lower case as Envoy keeps them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from .codec import Pair

Headers: TypeAlias = "Mapping[str, str] | Iterable[tuple[str, str]] | Iterable[Pair]"


def to_bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def to_str(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


# Headers that Envoy keeps in one slot (its "inline" headers, from envoy/http/header_map.h): a second value is joined to
# the first with a comma. Only those that a filter is likely to meet.
_JOINED = frozenset(
    b":authority :method :path :scheme :status connection content-length content-type forwarded-for grpc-message"
    b" grpc-status keep-alive proxy-connection te transfer-encoding upgrade user-agent via x-forwarded-client-cert"
    b" x-forwarded-for x-forwarded-host x-forwarded-proto x-request-id".split()
)


class HeaderMap:
    """Names and values are bytes; lookups ignore the case of the name. Pseudo headers come first."""

    __slots__ = ("_pairs",)

    def __init__(self, headers: Headers = ()) -> None:
        items = headers.items() if isinstance(headers, Mapping) else headers
        self._pairs: list[Pair] = [(to_bytes(name).lower(), to_bytes(value)) for name, value in items]

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs)

    def __contains__(self, name: bytes) -> bool:
        return self.get(name) is not None

    def __repr__(self) -> str:
        return f"HeaderMap({self.text_pairs()!r})"

    def get(self, name: bytes) -> bytes | None:
        """The first value."""
        name = name.lower()
        for key, value in self._pairs:
            if key == name:
                return value
        return None

    def get_all(self, name: bytes) -> list[bytes]:
        name = name.lower()
        return [value for key, value in self._pairs if key == name]

    def add(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in _JOINED:
            present = self.get(name)
            if present is not None:
                self._pairs[self._pairs.index((name, present))] = (name, present + b"," + value)
                return
        if name.startswith(b":"):
            pseudo = sum(key.startswith(b":") for key, _ in self._pairs)
            self._pairs.insert(pseudo, (name, value))
        else:
            self._pairs.append((name, value))

    def replace(self, name: bytes, value: bytes) -> None:
        """Leave one value: a single one keeps its place, of several all are removed and the new one comes last."""
        name = name.lower()
        places = [at for at, (key, _) in enumerate(self._pairs) if key == name]
        if len(places) == 1:
            self._pairs[places[0]] = (name, value)
            return
        self.remove(name)
        self.add(name, value)

    def remove(self, name: bytes) -> None:
        name = name.lower()
        self._pairs = [pair for pair in self._pairs if pair[0] != name]

    def assign(self, pairs: Iterable[Pair]) -> None:
        self._pairs = [(name.lower(), value) for name, value in pairs]

    def copy(self) -> "HeaderMap":
        found = HeaderMap()
        found._pairs = list(self._pairs)
        return found

    def pairs(self) -> list[Pair]:
        return list(self._pairs)

    def text_pairs(self) -> list[tuple[str, str]]:
        return [(to_str(name), to_str(value)) for name, value in self._pairs]
