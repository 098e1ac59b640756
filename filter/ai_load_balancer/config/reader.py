"""Reads values out of a JSON object and collects what is wrong with them, so that every error is told at once."""

import re
from difflib import get_close_matches
from typing import NamedTuple

MAX_SHOWN_CHARACTERS = 80


class ConfigError(ValueError):
    """The configuration cannot be used. `errors` holds one text per error, each with the key's path."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


class Pattern(NamedTuple):
    """What a string must be like; `meaning` is for the error."""

    regex: str
    meaning: str


class ConfigReader:
    """One JSON object under `path`. A value that is wrong is reported and read as its default."""

    def __init__(self, values: dict[str, object], path: str, errors: list[str], warnings: list[str]) -> None:
        self._values = values
        self._path = path
        self._errors = errors
        self._warnings = warnings
        self._known: set[str] = set()

    def key_path(self, key: str) -> str:
        """The path of a key; of this object itself for the empty key."""
        return f"{self._path}.{key}" if self._path and key else self._path or key

    def error(self, key: str, problem: str) -> None:
        self._errors.append(f"{self.key_path(key)}: {problem}")

    def raw(self, key: str) -> object:
        """The value as it is, None if the key is missing or null."""
        self._known.add(key)
        return self._values.get(key)

    def text(self, key: str, default: str = "", pattern: Pattern | None = None) -> str:
        """A string; a number counts as its text, as YAML makes a number of an unquoted password.

        If it is not empty, it matches `pattern`.
        """
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            self.error(key, f"expected a string, found {type_name(value)}")
            return default
        if value and pattern and not re.fullmatch(pattern.regex, value):
            self.error(key, f"expected {pattern.meaning}, found {shown(value)}")
            return default
        return value

    def required_text(self, key: str) -> str:
        value = self.text(key)
        if not value and self._values.get(key) in (None, ""):
            self.error(key, f"is required, found {shown(self._values.get(key))}")
        return value

    def integer(self, key: str, default: int, minimum: int, maximum: int) -> int:
        """An integer within bounds; a string that holds one counts as one."""
        value = self.raw(key)
        return default if value is None else self._bounded(key, value, default, minimum, maximum)

    def required_integer(self, key: str, minimum: int, maximum: int) -> int:
        value = self.raw(key)
        if value is None:
            self.error(key, f"is required: an integer from {minimum} to {maximum}")
            return minimum
        return self._bounded(key, value, minimum, minimum, maximum)

    def _bounded(self, key: str, value: object, default: int, minimum: int, maximum: int) -> int:
        number = as_integer(value)
        if number is None or not minimum <= number <= maximum:
            self.error(key, f"expected an integer from {minimum} to {maximum}, found {shown(value)}")
            return default
        return number

    def number(self, key: str, default: float, minimum: float, maximum: float, is_required: bool) -> float:
        """A number within bounds; a string that holds one counts as one."""
        value = self.raw(key)
        if value is None and not is_required:
            return default
        number = _as_number(value)
        if number is None or not minimum <= number <= maximum:
            self.error(key, f"expected a number from {minimum:g} to {maximum:g}, found {shown(value)}")
            return default
        return number

    def boolean(self, key: str, default: bool) -> bool:
        """true or false; the strings "true" and "false" count as well."""
        value = self.raw(key)
        if value is None:
            return default
        found = {"true": True, "false": False}.get(value) if isinstance(value, str) else value
        if isinstance(found, bool):
            return found
        self.error(key, f"expected true or false, found {shown(value)}")
        return default

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings, empty if the key is missing."""
        value = self.raw(key)
        if value is None:
            return ()
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        self.error(key, f"expected a list of strings, found {shown(value)}")
        return ()

    def required_texts(self, key: str) -> tuple[str, ...]:
        """A list of strings that is not empty."""
        found = self.texts(key)
        if not found and self.raw(key) in (None, []):
            self.error(key, f"is required: a list of strings, found {shown(self.raw(key))}")
        return found

    def choice(self, key: str, allowed: tuple[str, ...], default: str | None) -> str:
        """One of `allowed`; without a default it is required."""
        value = self.raw(key)
        if value is None and default is not None:
            return default
        if isinstance(value, str) and value in allowed:
            return value
        self.error(key, f"expected one of {', '.join(allowed)}, found {shown(value)}")
        return default if default is not None else allowed[0]

    def section(self, key: str) -> "ConfigReader":
        """The reader of the object under `key`, of an empty one if it is missing."""
        value = self.raw(key)
        if value is not None and not isinstance(value, dict):
            self.error(key, f"expected an object, found {type_name(value)}")
        values = value if isinstance(value, dict) else {}
        return ConfigReader(values, self.key_path(key), self._errors, self._warnings)

    def ignore(self, *keys: str) -> None:
        """Keys that are allowed and have no effect here."""
        self._known.update(keys)

    def finish(self) -> None:
        """Warns of the keys that nobody asked for."""
        for key in self._values:
            if key not in self._known:
                nearest = get_close_matches(key, sorted(self._known), n=1)
                hint = f"; did you mean {nearest[0]}?" if nearest else ""
                self._warnings.append(f"{self.key_path(key)}: unknown key, ignored{hint}")


def _as_number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return value if isinstance(value, int | float) else None


def as_integer(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return None
    return value if isinstance(value, int) else None


def shown(value: object) -> str:
    """The value as it may appear in an error text."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[:MAX_SHOWN_CHARACTERS] + "..."


def type_name(value: object) -> str:
    """The JSON name of the value's type; never the value, which may be a secret."""
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if value is None:
        return "null"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"
