"""The model of a request is what a JSON parser finds under `model`."""

import json

import pytest
from ai_load_balancer.policies.request_model import MAX_MODEL_BYTES, model_of
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"m"}', "m"),
        (b'{"messages":[], "model" :\n "sql \\"lora\\" \\u00e9"}', 'sql "lora" é'),
        (b'{"messages":[{"role":"user","content":"what is \\"model\\": \\"x\\"?"}],"model":"m"}', "m"),
        (b'{"metadata":{"model":"x"},"model":"m"}', "m"),
        (b'{"model":"first","model":"last"}', "last"),
        (b'{"type":"model","model":"m"}', "m"),
        (b'{"type":"model"}', None),
        (b'{"model":7}', None),
        (b'{"model":null}', None),
        (b'{"model":""}', ""),
        (b"{}", None),
        (b"[]", None),
        (b"", None),
        (b'["model"]', None),
        (b"not JSON", None),
        (b'{"model":"' + b"m" * 2 * MAX_MODEL_BYTES + b'"}', "m" * 2 * MAX_MODEL_BYTES),
        (b'{"model":' + b"[" * 100_000, None),
    ],
)
def test_the_model(body, expected):
    assert model_of(body) == expected


values = st.recursive(
    st.none() | st.integers() | st.text() | st.just("model"), lambda inner: st.lists(inner), max_leaves=5
)


@given(st.dictionaries(st.sampled_from(["model", "messages", "stream", "prompt"]), values), st.booleans())
def test_any_document(document, ensure_ascii):
    model = document.get("model")
    expected = model if isinstance(model, str) else None
    body = json.dumps(document, ensure_ascii=ensure_ascii).encode("utf-8", "surrogatepass")
    assert model_of(body) == expected
