"""The keys of a configuration, declared as the fields of a dataclass: how each is spelled, read and described.

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Limits:
        count: int = integer("maxCount", "the most requests; 0 for no limit", minimum=0, maximum=100, default=0)

    limits = read(Limits, reader)

What a policy accepts is said in one place; validation reads it, and so can a schema or a table for the documentation.
"""

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, TypeVar

from .reader import ConfigReader, Pattern

T = TypeVar("T")

Kind = Literal["string", "integer", "number", "boolean", "choice", "strings"]


@dataclass(frozen=True, slots=True)
class Key:
    """One key. Without a default it is required.

    `minimum` and `maximum` are of numbers, both included; `pattern` is of strings that are not empty.
    """

    name: str
    meaning: str
    kind: Kind
    minimum: float = 0
    maximum: float = 0
    choices: tuple[str, ...] = ()
    pattern: Pattern | None = None


HEADER = Pattern(r"^[0-9A-Za-z!#$%&'*+.^_|~-]+$", "a header's name")  # a token of RFC 9110, section 5.6.2
READABLE_HEADER = Pattern(r"^:?[0-9A-Za-z!#$%&'*+.^_|~-]+$", "a header's name")  # or a pseudo-header's


def _field(key: Key, default: object) -> Any:
    return field(default=default, metadata={"key": key})


def text(name: str, meaning: str, default: object = MISSING, pattern: Pattern | None = None) -> Any:
    """A string; a number counts as its text. If it is not empty, it matches `pattern`."""
    return _field(Key(name, meaning, "string", pattern=pattern), default)


def integer(name: str, meaning: str, minimum: int, maximum: int, default: object = MISSING) -> Any:
    """A whole number; a string that holds one counts as one."""
    return _field(Key(name, meaning, "integer", minimum, maximum), default)


def number(name: str, meaning: str, minimum: float, maximum: float, default: object = MISSING) -> Any:
    """A number; a string that holds one counts as one."""
    return _field(Key(name, meaning, "number", minimum, maximum), default)


def boolean(name: str, meaning: str, default: bool) -> Any:
    """true or false; the strings "true" and "false" count as well."""
    return _field(Key(name, meaning, "boolean"), default)


def choice(name: str, meaning: str, choices: Sequence[str], default: object = MISSING) -> Any:
    return _field(Key(name, meaning, "choice", choices=tuple(choices)), default)


def texts(name: str, meaning: str) -> Any:
    """A list of strings that is not empty."""
    return _field(Key(name, meaning, "strings"), MISSING)


def keys_of(config_class: type) -> dict[str, Key]:
    """Field name -> key, in the order of declaration."""
    return {item.name: item.metadata["key"] for item in fields(config_class) if "key" in item.metadata}


def read(config_class: type[T], reader: ConfigReader, **given: object) -> T:
    """Makes a config from the object under `reader`; `given` are the values of fields that are no keys.

    What is wrong is reported to the reader, and read as the default.
    """
    defaults = {item.name: item.default for item in fields(config_class)}  # type: ignore[arg-type]
    values = {name: _value(reader, key, defaults[name]) for name, key in keys_of(config_class).items()}
    return config_class(**values, **given)


def _value(reader: ConfigReader, key: Key, default: Any) -> object:
    is_required = default is MISSING
    if key.kind == "string":
        return reader.required_text(key.name) if is_required else reader.text(key.name, default, key.pattern)
    if key.kind == "integer":
        bounds = int(key.minimum), int(key.maximum)
        return reader.required_integer(key.name, *bounds) if is_required else reader.integer(key.name, default, *bounds)
    if key.kind == "number":
        return reader.number(key.name, key.minimum if is_required else default, key.minimum, key.maximum, is_required)
    if key.kind == "strings":
        return reader.required_texts(key.name)
    if key.kind == "boolean":
        return reader.boolean(key.name, default)
    return reader.choice(key.name, key.choices, None if is_required else default)
