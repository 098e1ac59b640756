"""What a request's body tells about its prompt: the model, and the prompt in segments, in the order of the templates.

Read are chat completions, completions, responses, Anthropic messages and embeddings, told apart by what is in them.
A segment is bytes that are equal for equal prompts; a conversation that goes on keeps its segments and appends others:

- tools, then instructions or the system prompt, come first;
- a segment ends with every message that is not the model's, so that each prompt of a conversation ends one;
- what the model thought is left out, as the templates of the models leave it out of earlier turns;
- so is what changes between two requests without a change of the prompt, like ids and cache marks.

The body is read as Latin-1, one character a byte: in UTF-8 a quote or a backslash is never a part of something else,
and parsing such a string and encoding its parts again costs half as much. So a text that one client escapes (\\u00e9)
and another does not, counts as two.
"""

import json
from typing import Any, NamedTuple

MAX_BODY_BYTES = 4 * 2**20
MAX_ITEMS = 1024  # of an array, be it of messages, parts, calls or prompts; what follows is not looked at

# \xff ends a field, \xfe a part of one. Neither is in any UTF-8 text, so that no two texts look like one.
_PART_END = b"\xfe"

_TEXT_TYPES = (None, "text", "input_text", "output_text")
_THOUGHT_TYPES = ("thinking", "redacted_thinking", "reasoning")
_THOUGHT_END = "</think>"
_VOLATILE = frozenset(
    (
        "annotations",
        "cache_control",
        "call_id",
        "created",
        "created_at",
        "id",
        "index",
        "logprobs",
        "metadata",
        "status",
        "timestamp",
        "tool_call_id",
        "tool_use_id",
    )
)

_loads = json.JSONDecoder().decode
_dumps = json.JSONEncoder(ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":")).encode


class Features(NamedTuple):
    """`model` is empty if the body names none; there is at least one segment, and none is empty."""

    model: bytes
    segments: list[bytes]


class _UnknownShape(Exception):
    """The body is of none of the kinds above."""


def read(body: bytes) -> Features | None:
    """The features of a request, or None for a body of which nothing is known."""
    if len(body) > MAX_BODY_BYTES:
        return None
    try:
        value = _loads(body.decode("latin-1"))
        if type(value) is not dict:
            return None
        segments = _segments(value)
    except (ValueError, RecursionError, _UnknownShape):
        return None
    model = value.get("model")
    return Features(_bytes(model) if type(model) is str else b"", segments)


def _segments(request: dict[str, Any]) -> list[bytes]:
    segments: list[bytes] = []
    for key in ("tools", "previous_response_id", "conversation", "instructions", "system"):
        if request.get(key):
            name = b"system" if key == "instructions" else key.encode()
            segments.append(b"%b\xff%b\xff" % (name, _content(request[key])))
    prompt = request.get("messages") or request.get("input") or request.get("prompt")
    if type(prompt) is str:
        segments.append(b"prompt\xff%b\xff" % _bytes(prompt))
    elif type(prompt) is not list or not prompt:
        raise _UnknownShape
    elif type(prompt[0]) is dict:
        _add_messages(prompt, segments)
    elif type(prompt[0]) is int:  # token ids
        segments.append(b"prompt\xff%b\xff" % _bytes(_dumps(prompt)))
    else:
        segments += [b"prompt\xff%b\xff" % _value(part) for part in prompt[:MAX_ITEMS]]
    return segments


def _add_messages(messages: list[Any], segments: list[bytes]) -> None:
    pieces: list[bytes] = []  # of the segment that has not ended yet
    for message in messages[:MAX_ITEMS]:
        try:
            role = message["role"]
            content = message["content"]
        except (KeyError, TypeError):
            _add_other(message, pieces, segments)
            continue
        by_model = role == "assistant"
        try:  # most contents are texts, and _bytes would be one more call for each
            if by_model:
                content = content.rpartition(_THOUGHT_END)[2].lstrip()
            text = content.encode("latin-1")
        except UnicodeEncodeError:
            text = content.encode("utf-8", "surrogatepass")
        except AttributeError:
            text = _content(content)
        if by_model:
            pieces += (b"assistant\xff", text, b"\xff")
            if "tool_calls" in message:
                pieces += _calls(message["tool_calls"])
        else:
            pieces += (b"user" if role == "user" else _value(role), b"\xff", text, b"\xff")
            segments.append(b"".join(pieces))
            pieces = []
    if pieces:
        segments.append(b"".join(pieces))


def _add_other(item: Any, pieces: list[bytes], segments: list[bytes]) -> None:
    """A message without content, or an item of a response's input that is no message."""
    if type(item) is not dict:
        raise _UnknownShape
    kind = item.get("type")
    if item.get("role") == "assistant":
        pieces += (b"assistant\xff\xff", *_calls(item.get("tool_calls")))
    elif type(kind) is not str:
        raise _UnknownShape
    elif kind not in _THOUGHT_TYPES:
        pieces += (b"item\xff", _value(item), b"\xff")
        if not kind.endswith("_call"):
            segments.append(b"".join(pieces))
            pieces.clear()


def _calls(tool_calls: Any) -> list[bytes]:
    if type(tool_calls) is not list:
        return []
    return [b"call\xff%b\xff" % _value(call) for call in tool_calls[:MAX_ITEMS]]


def _content(content: Any) -> bytes:
    """A text is equal to a list of one text part."""
    if type(content) is str:
        return _bytes(content)
    if content is None:
        return b""
    if type(content) is not list:
        return _value(content)
    return _PART_END.join(
        [
            _part(part)
            for part in content[:MAX_ITEMS]
            if type(part) is not dict or part.get("type") not in _THOUGHT_TYPES
        ]
    )


def _part(part: Any) -> bytes:
    if type(part) is dict:
        kind = part.get("type")
        if kind in _TEXT_TYPES and type(part.get("text")) is str:
            return _bytes(part["text"])
        if kind == "tool_result":
            return _content(part.get("content"))
    return _value(part)


def _value(value: Any) -> bytes:
    """Any JSON value, without what is volatile in it if it is an object."""
    if type(value) is str:
        return _bytes(value)
    if type(value) is dict and not _VOLATILE.isdisjoint(value):
        value = {key: item for key, item in value.items() if key not in _VOLATILE}
    return _bytes(_dumps(value))


def _bytes(text: str) -> bytes:
    """The bytes of the body that `text` was read from; other ones if it was escaped there."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
