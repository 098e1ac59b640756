"""What the workers of a gateway know together of a cluster's endpoints: one value in its shared data.

An endpoint's *load* is the queue depth that was scraped last, plus every request sent there since. Both tell less the
older they are, so the load halves with LOAD_HALF_LIFE_MS; without that, an endpoint whose metrics stand still would be
left alone for ever. Between two scrapes, the workers thus see each other's requests and do not all run to the endpoint
that was idle at the last one.

An endpoint's *error rate* rises with every failed response and falls with every other, and with time.

The value: the addresses, each followed by a space, and a line end; a fingerprint of the text behind each load (u32);
five columns of doubles: when the text was first seen, the load and its time, the error rate and its time, all times in
ms; and the last picks (u16). A value of other endpoints gives what it holds of those that are still there.
"""

from collections.abc import Sequence
from math import exp2
from struct import Struct, pack, pack_into, unpack_from
from typing import NamedTuple

LOAD_HALF_LIFE_MS = 15_000  # a common scrape interval: a queue depth that old counts half
ERROR_HALF_LIFE_MS = 60_000  # an endpoint that serves again shows it by its responses, sooner
ERROR_WEIGHT = 1 / 4  # of one response in the error rate; with one failure a second, the rate rises to 0.9
MIN_ERROR_RATE = 1e-3  # below it there is none

WINDOW_PICKS = 100  # as in the Go plugin

MAX_CLOCK_STEP_MS = 60_000  # that a gateway's clock may be set back without a trace

_U16 = Struct("<H")
_F64 = Struct("<d")
_SEEN, _LOAD, _ERROR_RATE = 0, 1, 3  # columns; behind a load and an error rate stands its time
_COLUMNS = 5
_BYTES_PER_ENDPOINT = 4 + 8 * _COLUMNS
_NEVER_MS = -1.0


class Scrapes(NamedTuple):
    """What one worker sees of the endpoints, in their order.

    names: the addresses as they stand at the beginning of the shared value
    fingerprints: u32 of each text, little-endian
    depths: the queue depth in each text, 0 where it is not known
    scraped_at_ms: when this worker saw each text first
    """

    names: bytes
    fingerprints: bytes
    depths: Sequence[float]
    scraped_at_ms: Sequence[float]


def names_of(addresses: Sequence[str]) -> bytes:
    return b"%b\n" % " ".join([*addresses, ""]).encode("utf-8", "surrogateescape")


class EndpointLoads:
    """A value in use; `encode` gives what is to be stored."""

    def __init__(self, value: bytes, names_size: int, count: int) -> None:
        self._value = bytearray(value)
        self._count = count
        self._columns_at = names_size + 4 * count
        self._picks_at = names_size + _BYTES_PER_ENDPOINT * count

    @classmethod
    def updated(cls, value: bytes | None, scrapes: Scrapes) -> "EndpointLoads":
        """The shared value, brought up to date with what a worker sees; a new one if it is missing or not ours."""
        names, fingerprints = scrapes.names, scrapes.fingerprints
        names_size, count = len(names), len(scrapes.depths)
        if value is None or not value.startswith(names) or not _is_whole(len(value) - names_size, count):
            value = _carried_over(value or b"", names, count)
        loads = cls(value, names_size, count)
        known = value[names_size : names_size + len(fingerprints)]
        if known != fingerprints:
            loads._take_over(scrapes, known)
        return loads

    @classmethod
    def with_outcome(cls, value: bytes | None, address: str, failed: bool, now_ms: float) -> bytes:
        """The value after a response of the endpoint failed, or did not; unchanged if it does not know the endpoint."""
        names, line_end, rest = (value or b"").partition(b"\n")
        known = names.decode("utf-8", "surrogateescape").split()
        if address not in known or not line_end or not _is_whole(len(rest), len(known)):
            return value or b""
        loads = cls(value or b"", len(names) + 1, len(known))
        position = known.index(address)
        rate = loads._aged(_ERROR_RATE, position, now_ms, ERROR_HALF_LIFE_MS)
        rate += ((1.0 if failed else 0.0) - rate) * ERROR_WEIGHT
        loads._set(_ERROR_RATE, position, rate if rate >= MIN_ERROR_RATE else 0.0, now_ms)
        return loads.encode()

    def depths(self, now_ms: float) -> list[int]:
        """The load of each endpoint in whole requests."""
        return [
            round(load * exp2((at_ms - now_ms) / LOAD_HALF_LIFE_MS)) if load and at_ms < now_ms else round(load)
            for load, at_ms in zip(self._column(_LOAD), self._column(_LOAD + 1), strict=True)
        ]

    def error_rates(self, now_ms: float) -> list[float] | None:
        """The error rate of each endpoint, 0 to 1; None if none has any."""
        start = self._columns_at + 8 * _ERROR_RATE * self._count
        if not self._value[start : start + 8 * self._count].strip(b"\0"):
            return None
        return [self._aged(_ERROR_RATE, position, now_ms, ERROR_HALF_LIFE_MS) for position in range(self._count)]

    def share_of_picks(self, position: int) -> float:
        """How many of the last picks were this endpoint, 0 to 1."""
        picks = unpack_from(f"<{(len(self._value) - self._picks_at) // 2}H", self._value, self._picks_at)
        return picks.count(position) / len(picks) if picks else 0.0

    def add_pick(self, position: int, now_ms: float) -> None:
        """One more request is sent to the endpoint."""
        self._set(_LOAD, position, self._aged(_LOAD, position, now_ms, LOAD_HALF_LIFE_MS) + 1, now_ms)
        self._value += _U16.pack(position)
        excess = len(self._value) - self._picks_at - 2 * WINDOW_PICKS
        if excess > 0:
            del self._value[self._picks_at : self._picks_at + excess]

    def encode(self) -> bytes:
        return bytes(self._value)

    def _column(self, column: int) -> tuple[float, ...]:
        return unpack_from(f"<{self._count}d", self._value, self._columns_at + 8 * column * self._count)

    def _at(self, column: int, position: int) -> int:
        return self._columns_at + 8 * (column * self._count + position)

    def _aged(self, column: int, position: int, now_ms: float, half_life_ms: int) -> float:
        """An amount, whose time is in the next column, as of now."""
        amount: float = _F64.unpack_from(self._value, self._at(column, position))[0]
        at_ms: float = _F64.unpack_from(self._value, self._at(column + 1, position))[0]
        return amount * exp2((at_ms - now_ms) / half_life_ms) if at_ms < now_ms else amount

    def _set(self, column: int, position: int, amount: float, at_ms: float) -> None:
        _F64.pack_into(self._value, self._at(column, position), amount)
        _F64.pack_into(self._value, self._at(column + 1, position), at_ms)

    def _take_over(self, scrapes: Scrapes, known: bytes) -> None:
        """Loads begin anew where this worker saw another text later than the one that the load is based on.

        A worker that still holds the text before sees a foreign fingerprint too, but it saw its own text earlier. A
        load from the far future is one from before the clock was set back.
        """
        count = self._count
        seen_at = self._column(_SEEN)
        for position, text in enumerate(unpack_from(f"<{count}I", scrapes.fingerprints)):
            seen_ms = scrapes.scraped_at_ms[position]
            if text != unpack_from("<I", known, 4 * position)[0]:
                if seen_at[position] - MAX_CLOCK_STEP_MS < seen_ms < seen_at[position]:
                    continue
                pack_into("<I", self._value, self._columns_at - 4 * (count - position), text)
                _F64.pack_into(self._value, self._at(_SEEN, position), seen_ms)
                self._set(_LOAD, position, scrapes.depths[position], seen_ms)


def _is_whole(size: int, count: int) -> bool:
    """Whether what follows the names can be the numbers of `count` endpoints, and picks."""
    picks_size = size - _BYTES_PER_ENDPOINT * count
    return 0 <= picks_size <= 2 * WINDOW_PICKS and picks_size % 2 == 0


def _carried_over(value: bytes, names: bytes, count: int) -> bytes:
    """A value for `names` with what an older one has of them; the picks of endpoints that are gone are forgotten."""
    fingerprints = [0] * count
    columns = [0.0] * (_COLUMNS * count)
    columns[:count] = [_NEVER_MS] * count
    picks: list[int] = []
    older = _read(value)
    if older is not None:
        old_names, old_fingerprints, old_columns, old_picks = older
        position_of = {name: position for position, name in enumerate(names[:-1].split())}
        moved = {old: position_of[name] for old, name in enumerate(old_names) if name in position_of}
        for old, new in moved.items():
            fingerprints[new] = old_fingerprints[old]
            for column in range(_COLUMNS):
                columns[column * count + new] = old_columns[column * len(old_names) + old]
        picks = [moved[pick] for pick in old_picks if pick in moved]
    layout = f"<{count}I{_COLUMNS * count}d{len(picks)}H"
    return names + pack(layout, *fingerprints, *columns, *picks)


def _read(value: bytes) -> tuple[list[bytes], tuple[int, ...], tuple[float, ...], tuple[int, ...]] | None:
    """(names, fingerprints, columns, picks); None if the value is not one of ours."""
    head, line_end, rest = value.partition(b"\n")
    names = head.split()
    count = len(names)
    if not line_end or not _is_whole(len(rest), count):
        return None
    picks = (len(rest) - _BYTES_PER_ENDPOINT * count) // 2
    numbers = unpack_from(f"<{count}I{_COLUMNS * count}d{picks}H", rest)
    return names, numbers[:count], numbers[count : count * (1 + _COLUMNS)], numbers[count * (1 + _COLUMNS) :]
