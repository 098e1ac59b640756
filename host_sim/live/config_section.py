"""Reads one mapping of a YAML document: every mistake is noted with its key, what was found and what is allowed."""

from typing import Any, Final

from ..errors import SimulatorError

SHOWN_SIZE_MAX = 60  # characters of a value in an error


class ConfigError(SimulatorError):
    """`problems`: one text per mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


class _Required:
    pass


REQUIRED: Final = _Required()


class Section:
    """`path` is the key of this mapping in the document ("" for the whole); mistakes are added to `problems`."""

    def __init__(self, value: object, path: str, problems: list[str]) -> None:
        self.path = path
        self.problems = problems
        self._known: list[str] = []
        self._values: dict[str, Any] = {}
        if isinstance(value, dict):
            self._values = {str(key): item for key, item in value.items()}
        elif value is not None:
            problems.append(f"{path or 'the document'}: expected a mapping, found {shown(value)}")

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def names(self) -> list[str]:
        """Of a mapping with names of the user's choice: all of them are known."""
        self._known += [key for key in self._values if key not in self._known]
        return list(self._values)

    def path_of(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def problem(self, key: str, text: str) -> None:
        self.problems.append(f"{self.path_of(key)}: {text}")

    def expected(self, key: str, what: str) -> None:
        self.problem(key, f"expected {what}, found {shown(self._values.get(key))}")

    def raw(self, key: str) -> Any:
        if key not in self._known:
            self._known.append(key)
        return self._values.get(key)

    def text(self, key: str, default: str | _Required, what: str = "a text") -> str:
        value = self.raw(key)
        if value is None and not isinstance(default, _Required):
            return default
        if isinstance(value, str) and value:
            return value
        self._missing_or(key, what)
        return ""

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.expected(key, f"an integer from {low} to {high}")
        return default

    def boolean(self, key: str, default: bool) -> bool:
        value = self.raw(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.expected(key, "true or false")
        return default

    def choice(self, key: str, default: str, allowed: tuple[str, ...]) -> str:
        value = self.raw(key)
        if value is None or value in allowed:
            return default if value is None else str(value)
        self.expected(key, f"one of {', '.join(allowed)}")
        return default

    def texts(self, key: str, default: tuple[str, ...] | _Required, what: str = "texts") -> tuple[str, ...]:
        """A list of texts that is not empty."""
        value = self.raw(key)
        if value is None and not isinstance(default, _Required):
            return default
        if isinstance(value, list) and value and all(isinstance(item, str) and item for item in value):
            return tuple(value)
        self._missing_or(key, f"a list of {what}")
        return ()

    def section(self, key: str) -> "Section":
        """An empty one if the key is missing."""
        return Section(self.raw(key), self.path_of(key), self.problems)

    def sections(self, key: str, what: str) -> list["Section"]:
        """Of a list of mappings that is not empty."""
        value = self.raw(key)
        if isinstance(value, list) and value:
            return [Section(item, f"{self.path_of(key)}[{at}]", self.problems) for at, item in enumerate(value)]
        self._missing_or(key, what)
        return []

    def finish(self) -> None:
        """Keys that nobody asked for are mistakes."""
        for key in self._values:
            if key not in self._known:
                self.problem(key, f"unknown key; allowed here: {', '.join(self._known)}")

    def _missing_or(self, key: str, what: str) -> None:
        if self._values.get(key) is None:
            self.problem(key, f"is required: {what}")
        else:
            self.expected(key, what)


def shown(value: object) -> str:
    """A value in an error, cut if it is long."""
    text = "nothing" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= SHOWN_SIZE_MAX else text[: SHOWN_SIZE_MAX - 3] + "..."
