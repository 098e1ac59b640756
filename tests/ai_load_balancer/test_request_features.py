"""The prompt in a request's body: which bodies have the same one, and where one prompt begins another."""

import json

import pytest
from ai_load_balancer.policies.request_features import MAX_BODY_BYTES, MAX_ITEMS, Features, read
from hypothesis import given, settings
from hypothesis import strategies as st

SYSTEM = {"role": "system", "content": "Be kind."}
USER = {"role": "user", "content": "Hi, größte 日本!"}
ASSISTANT = {"role": "assistant", "content": "Hello."}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def body(request, **options) -> bytes:
    options.setdefault("ensure_ascii", False)
    return json.dumps(request, **options).encode()


def features(**request) -> Features:
    found = read(body({"model": "m", **request}))
    assert found is not None
    assert all(found.segments)
    return found


def chat(*messages, **request) -> list[bytes]:
    return features(messages=messages, **request).segments


def test_a_segment_ends_with_every_message_that_is_not_the_models():
    segments = chat(SYSTEM, USER, ASSISTANT, USER)
    assert segments == [
        b"system\xffBe kind.\xff",
        "user\udcffHi, größte 日本!\udcff".encode(errors="surrogateescape"),
        "assistant\udcffHello.\udcffuser\udcffHi, größte 日本!\udcff".encode(errors="surrogateescape"),
    ]


def test_a_conversation_keeps_its_segments():
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f"}}]}
    result = {"role": "tool", "tool_call_id": "1", "content": "42"}
    messages = [SYSTEM, USER, call, result, ASSISTANT, USER]
    whole = chat(*messages)
    for end in (1, 2, 4, 6):
        assert chat(*messages[:end]) == whole[: len(chat(*messages[:end]))]
    assert len(whole) == 4


def test_a_prompt_that_ends_with_the_model_ends_a_segment():
    assert chat(USER, ASSISTANT)[1] == b"assistant\xffHello.\xff"


@pytest.mark.parametrize(
    "request_body",
    [
        {"messages": [SYSTEM, USER], "stream": True, "temperature": 0.1, "user": "u", "seed": 7},
        {"messages": [{**SYSTEM, "id": "1"}, {**USER, "timestamp": 5}]},
        {"messages": [SYSTEM, {"role": "user", "content": [{"type": "text", "text": USER["content"]}]}]},
        {
            "messages": [
                SYSTEM,
                {
                    "role": "user",
                    "content": [{"type": "text", "text": USER["content"], "cache_control": {"type": "ephemeral"}}],
                },
            ]
        },
        {"system": "Be kind.", "messages": [USER]},
        {"system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}], "messages": [USER]},
        {"instructions": "Be kind.", "input": [USER]},
        {"system": "Be kind.", "input": [{"type": "message", "id": "x", "status": "completed", **USER}]},
    ],
)
def test_what_does_not_change_the_prompt_does_not_change_the_segments(request_body):
    assert features(**request_body) == features(messages=[SYSTEM, USER])


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("indent", [None, 2])
def test_white_space_and_the_order_of_keys_do_not_matter(separators, indent):
    request = {"messages": [dict(reversed(USER.items()))], "model": "m"}
    assert read(body(request, separators=separators, indent=indent)) == features(messages=[USER])


@pytest.mark.parametrize(
    "content",
    [
        "<think>Let me see.</think>Hello.",
        "<think>\nLet me see.\n</think>\n\nHello.",
        "Let me see.</think>\n\nHello.",
        "\n\nHello.",
        [{"type": "thinking", "thinking": "Let me see.", "signature": "s"}, {"type": "text", "text": "Hello."}],
    ],
)
def test_thoughts_of_earlier_turns_do_not_matter(content):
    assert chat(USER, {**ASSISTANT, "content": content}, USER) == chat(USER, ASSISTANT, USER)


def test_thoughts_in_fields_of_their_own_and_as_items_do_not_matter():
    assert chat(USER, {**ASSISTANT, "reasoning_content": "Let me see."}, USER) == chat(USER, ASSISTANT, USER)
    items = [USER, {"type": "reasoning", "id": "r", "summary": []}, ASSISTANT, USER]
    assert features(input=items).segments == chat(USER, ASSISTANT, USER)


def test_a_user_may_write_of_thoughts():
    assert chat({"role": "user", "content": "What is </think> for?"}) != chat({"role": "user", "content": " for?"})


def test_tools_come_first_and_count():
    tools = [{"type": "function", "function": {"name": "f", "description": "größer"}}]
    segments = chat(USER, tools=tools)
    assert segments[1:] == chat(USER)
    assert chat(USER, tools=[*tools, *tools])[0] != segments[0]


def test_images_count():
    image = {"role": "user", "content": [IMAGE]}
    other = {"role": "user", "content": [{**IMAGE, "image_url": {"url": "data:image/png;base64,BBBB"}}]}
    assert chat(image) != chat(other)
    assert chat(image) == chat(image)


def test_cache_marks_do_not_count():
    marked = {**IMAGE, "cache_control": {"type": "ephemeral"}}
    assert chat({"role": "user", "content": [marked]}) == chat({"role": "user", "content": [IMAGE]})


def test_of_long_arrays_the_start_is_looked_at():
    many = [{"role": "assistant", "content": "a"}] * MAX_ITEMS
    assert chat(*many, USER) == chat(*many)
    parts = [{"type": "text", "text": "a"}] * MAX_ITEMS
    assert chat({"role": "user", "content": [*parts, IMAGE]}) == chat({"role": "user", "content": parts})
    assert len(features(prompt=["a"] * (MAX_ITEMS + 1)).segments) == MAX_ITEMS


def test_calls_count_and_their_ids_do_not():
    def called(call_id: str, arguments: str) -> list[bytes]:
        call = {"id": call_id, "type": "function", "function": {"name": "f", "arguments": arguments}}
        return chat(USER, {"role": "assistant", "tool_calls": [call]}, USER)

    assert called("1", '{"a": 1}') == called("2", '{"a": 1}') != called("1", '{"a": 2}')


def test_items_of_a_response_that_are_calls():
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": "42"}
    segments = features(input=[USER, call, output, USER]).segments
    assert len(segments) == 3
    assert features(input=[USER, {**call, "call_id": "d"}, output]).segments == segments[:2]


@pytest.mark.parametrize(
    ("request_body", "count"),
    [
        ({"prompt": "Once upon a time"}, 1),
        ({"prompt": ["Once", "upon"]}, 2),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [[1, 2], [3]]}, 2),
        ({"input": "Embed this."}, 1),
        ({"input": ["Embed this.", "And this."]}, 2),
        ({"input": [1, 2, 3]}, 1),
        ({"instructions": "Be kind.", "input": "Hi"}, 2),
    ],
)
def test_prompts_that_are_no_messages(request_body, count):
    assert len(features(**request_body).segments) == count


def test_texts_that_end_in_another_place_are_others():
    assert features(prompt=["ab", "c"]) != features(prompt=["a", "bc"])
    assert chat({"role": "user", "content": [{"type": "text", "text": text} for text in ("ab", "c")]}) != chat(
        {"role": "user", "content": [{"type": "text", "text": text} for text in ("a", "bc")]}
    )


@pytest.mark.parametrize(
    "unknown",
    [
        b"",
        b"not JSON",
        b"[]",
        b'"text"',
        b"{}",
        b'{"model": "m"}',
        b'{"messages": []}',
        b'{"messages": {}}',
        b'{"messages": [1, 2',
        b'{"messages": [{"role": "user"}]}',
        b'{"messages": [{"role": "user", "content": "a"}, 7]}',
        b'{"messages": [{"content": "a"}]}',
        b'{"query": "a", "documents": ["b"]}',
        b'{"messages": "' + b"a" * MAX_BODY_BYTES + b'"}',
        b"[" * 100_000,
        b'{"messages": [{"role": "user", "content": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]}",
        b"\xff\xfe{\0}\0",
        bytes(range(256)),
    ],
    ids=lambda unknown: f"{len(unknown)}-{unknown[:60]!r}",
)
def test_of_an_unknown_shape_nothing_is_known(unknown):
    assert read(unknown) is None


def test_the_model_may_be_missing():
    found = read(b'{"messages": [{"role": "user", "content": "a"}]}')
    assert found is not None
    assert found.model == b""
    assert features(messages=[USER]).model == b"m"


KEYS = st.sampled_from(
    ["messages", "role", "content", "type", "text", "input", "prompt", "system", "tools", "tool_calls", "model", "id"]
)
TEXT = st.lists(
    st.sampled_from(["a", "b", " ", "\n", '"', "\\", "\0", "\x7f", "é", "ÿ", "þ", "日", "😀", "</think>"])
).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(KEYS, JSON, max_size=5))
def test_any_object_is_read_or_not_and_never_raises(request):
    for ensure_ascii in (True, False):
        found = read(json.dumps(request, ensure_ascii=ensure_ascii).encode("utf-8", "surrogatepass"))
        assert found is None or (found.segments and all(found.segments))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_not_and_never_raise(data):
    assert read(data) is None or data


MESSAGES = st.lists(
    st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), TEXT),
    min_size=1,
    max_size=6,
)


@settings(deadline=None)
@given(MESSAGES, MESSAGES)
def test_segments_are_equal_for_equal_messages_only(one, other):
    def normal(messages):
        return [
            (role, text.rpartition("</think>")[2].lstrip() if role == "assistant" else text) for role, text in messages
        ]

    segments, others = (
        chat(*({"role": role, "content": text} for role, text in messages)) for messages in (one, other)
    )
    assert (b"".join(segments) == b"".join(others)) == (normal(one) == normal(other))
