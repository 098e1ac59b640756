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

MAX_BODY_BYTES = 8 * 2**20

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
        segments += [b"prompt\xff%b\xff" % _value(part) for part in prompt]
    return segments


def _add_messages(messages: list[Any], segments: list[bytes]) -> None:
    pending = b""  # what the model said since the last segment
    for message in messages:
        try:
            role = message["role"]
            content = message["content"]
        except (KeyError, TypeError):
            pending = _add_other(message, pending, segments)
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
            pending = b"".join((pending, b"assistant\xff", text, b"\xff"))
            if "tool_calls" in message:
                pending += _calls(message["tool_calls"])
        else:
            name = b"user" if role == "user" else _value(role)
            segments.append(b"".join((pending, name, b"\xff", text, b"\xff")))
            pending = b""
    if pending:
        segments.append(pending)


def _add_other(item: Any, pending: bytes, segments: list[bytes]) -> bytes:
    """A message without content, or an item of a response's input that is no message. Returns what is pending then."""
    if type(item) is not dict:
        raise _UnknownShape
    kind = item.get("type")
    if item.get("role") == "assistant":
        return b"%bassistant\xff\xff%b" % (pending, _calls(item.get("tool_calls")))
    if kind in _THOUGHT_TYPES:
        return pending
    if type(kind) is not str:
        raise _UnknownShape
    pending = b"%bitem\xff%b\xff" % (pending, _value(item))
    if kind.endswith("_call"):
        return pending
    segments.append(pending)
    return b""


def _calls(tool_calls: Any) -> bytes:
    if type(tool_calls) is not list:
        return b""
    return b"".join([b"call\xff%b\xff" % _value(call) for call in tool_calls])


def _content(content: Any) -> bytes:
    """A text is equal to a list of one text part."""
    if type(content) is str:
        return _bytes(content)
    if content is None:
        return b""
    if type(content) is not list:
        return _value(content)
    return _PART_END.join(
        [_part(part) for part in content if type(part) is not dict or part.get("type") not in _THOUGHT_TYPES]
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
