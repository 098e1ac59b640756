"""Prompts to measure with: conversations of several turns, made from a seed, alike on every machine.

The words are drawn from a fixed vocabulary: mostly English, some with accents, some Chinese, Japanese and Korean, some
emoji, and code with quotes and line ends, so that a body has escapes in it as real ones have. About an eighth of the
bytes are not ASCII. What the model says is three times as long as what the user says.
"""

import json
from dataclasses import dataclass
from random import Random

_WORDS = """
the model routes every request to an endpoint that already holds its prefix because computing attention twice
wastes memory and time please explain how caches behave when load grows and which replica should answer next
"""
_ACCENTED = ("café", "naïve", "résumé", "Zürich", "São", "élève", "Gödel", "façade")
_EAST_ASIAN = ("负载均衡", "请求", "缓存", "どのように", "動作しますか", "요청을", "분산합니다")
_EMOJI = ("🙂", "🚀", "👩🏽‍💻", "✅")
_CODE = ('print("hello, world")\n', "for (;;) {\n\treturn;\n}\n", 'C:\\models\\"llama"')
_MIXED = (*_WORDS.split() * 3, *_ACCENTED, *_EAST_ASIAN, *_EMOJI, *_CODE)

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
_ANSWER_WEIGHT = 3


@dataclass(frozen=True, slots=True)
class Shape:
    """The number of messages and the bytes of a body, within a few percent."""

    messages: int
    size: int


# What the Go plugin was measured with.
KB_1 = Shape(6, 899)
KB_16 = Shape(18, 16_900)
KB_128 = Shape(106, 132_000)


def chat(shape: Shape, seed: int) -> bytes:
    """A request for a chat completion, in UTF-8 as clients send it: instructions, then user and model in turns."""
    return _encoded(shape, seed, _MIXED, ensure_ascii=False)


def escaped_chat(shape: Shape, seed: int) -> bytes:
    """As `chat`, but every character of every text is a \\uXXXX escape: what is dearest to read."""
    return _encoded(shape, seed, _EAST_ASIAN, ensure_ascii=True)


def _encoded(shape: Shape, seed: int, words: tuple[str, ...], ensure_ascii: bool) -> bytes:
    random = Random(seed)
    roles = ["system", *("assistant" if turn % 2 else "user" for turn in range(shape.messages - 1))]
    weights = [_ANSWER_WEIGHT if role == "assistant" else 1 for role in roles]
    left = shape.size - len(_body([""] * len(roles), roles, ensure_ascii))
    contents = []
    for i, weight in enumerate(weights):
        size = max(0, left * weight // sum(weights[i:]))
        contents.append(_text(random, size, words, ensure_ascii))
        left -= _size(contents[-1], ensure_ascii)
    return _body(contents, roles, ensure_ascii)


def _text(random: Random, size: int, words: tuple[str, ...], ensure_ascii: bool) -> str:
    space = "　" if ensure_ascii else " "  # an ideographic one is escaped too
    text: list[str] = []
    while size > 0:
        [word] = random.choices(words)
        text.append(word + space)
        size -= _size(text[-1], ensure_ascii)
    return "".join(text)


def _size(text: str, ensure_ascii: bool) -> int:
    """In bytes, as it stands in a body."""
    return len(json.dumps(text, ensure_ascii=ensure_ascii).encode()) - len('""')


def _body(contents: list[str], roles: list[str], ensure_ascii: bool) -> bytes:
    messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
    body = {"model": MODEL, "messages": messages, "stream": True, "temperature": 0.7}
    return json.dumps(body, ensure_ascii=ensure_ascii, separators=(",", ":")).encode()
