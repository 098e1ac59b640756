"""A plugin that imports what leads to `inspect`, `ast` and others, and needs none of them in a request."""

import dataclasses
import importlib
import logging
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from proxywasm import HttpContext, RootContext


class Colour(Enum):
    RED = 1


class Pair(NamedTuple):
    left: int
    right: int


@dataclass(frozen=True, slots=True, order=True)
class Point:
    x: int
    y: int = 2


def use_what_exists() -> str:
    point = dataclasses.replace(Point(1), y=3)
    names = [field.name for field in dataclasses.fields(point)]
    return f"{point} {dataclasses.asdict(point)} {names} {Colour(1)} {Pair(1, 2)._replace(left=0)} {point < Point(2)}"


def make_a_class() -> str:
    @dataclass
    class Made:
        x: int

    return str(Made(1))


def import_a_tool() -> str:
    return importlib.import_module("tcepsni"[::-1]).__name__  # the build must not see that name in the code


def log_an_exception() -> str:
    try:
        raise KeyError("on purpose")
    except KeyError:
        logging.getLogger(__name__).exception("logged")
    return "logged"


ACTIONS = {action.__name__: action for action in (use_what_exists, make_a_class, import_a_tool, log_an_exception)}


class Http(HttpContext):
    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        try:
            result = ACTIONS[self.request_headers.get("x-action") or ""]()
        except ImportError as error:
            result = f"{type(error).__name__}: {error}"
        self.request_headers.set("x-result", result)
        return None


class Content(RootContext):
    http_context = Http
