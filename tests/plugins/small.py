"""A plugin for the tests of the build tool."""

import importlib
import json
import math
import re
import unicodedata
import zlib

from proxywasm import HttpContext, RootContext


def fail() -> None:
    raise RuntimeError("on purpose")  # the line that a readable traceback shows


def digest() -> str:
    """Of what CPython makes of its static tables: the same wherever they are whole."""
    characters = [chr(code) for code in range(0x20000) if not 0xD800 <= code < 0xE000]
    texts = [
        "".join(character.upper() + character.casefold() + unicodedata.normalize("NFKD", character))
        for character in characters
    ]
    texts += [repr(math.exp(number / 7)) + str(math.gamma(number / 3 + 0.1)) for number in range(100)]
    texts += [json.dumps({"a": characters[:1000]}), str(re.findall(r"\w+", "".join(characters[:5000])))]
    texts += [characters[code].encode(name).hex() for name in ("utf-16", "latin-1") for code in range(256)]
    return f"{zlib.crc32(''.join(texts).encode()):08x}"


class SmallHttp(HttpContext):
    """docstring-that-must-not-be-shipped"""

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        if self.request_headers.get("x-fail"):
            fail()
        if self.request_headers.get("x-digest"):
            self.request_headers.set("x-digest", digest())
        self.request_headers.set("x-import", self.try_import(self.request_headers.get("x-module") or "math"))
        return None

    def try_import(self, name: str) -> str:
        try:
            return importlib.import_module(name).__name__
        except ImportError as error:
            return type(error).__name__


class Small(RootContext):
    http_context = SmallHttp
