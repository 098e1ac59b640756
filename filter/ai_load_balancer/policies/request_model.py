"""The model that a request names, without parsing its body where that can be avoided."""

import json
import re

_MODEL = b'"model"'
_VALUE = re.compile(rb'\s*:\s*("(?:[^"\\]|\\.)*")')

MAX_MODEL_BYTES = 1024


def model_of(body: bytes) -> str | None:
    """The string under `model` of a JSON object; None if there is none.

    Inside a string a quote is escaped; so if the key occurs once, followed by a string, that is the model.
    """
    at = body.find(_MODEL)
    if at < 0:
        return None
    after = at + len(_MODEL)
    found = _VALUE.match(body, after, after + MAX_MODEL_BYTES)
    try:
        if found and body.find(_MODEL, after) < 0:
            value = json.loads(found[1])
        else:
            document = json.loads(body)
            value = document.get("model") if isinstance(document, dict) else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, str) else None
