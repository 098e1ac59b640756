"""What the hostile plugin (tests/plugins/hostile.py) is sent, on every host."""

# What a body does, and how the plugin's json.loads ends on it.
BODIES: dict[str, tuple[bytes, str]] = {
    "100,000 brackets": (b"[" * 100_000, "RecursionError"),
    '1 MB of {"a":': (b'{"a":' * 200_000, "RecursionError"),
    "invalid UTF-8": (b'{"a": "\xff\xfe\xfa"}' * 100, "UnicodeDecodeError"),
    "32 MB of text": (b"lorem ipsum " * (32_000_000 // 12), "JSONDecodeError"),
    "a string of 32 MB": (b'"' + b"a" * 32_000_000 + b'"', "survived"),
    "no body": (b"", "none"),
}
BUFFER_LIMIT_BYTES = 40_000_000

UNCAUGHT = ("uncaught", "uncaught exit", "text")  # the request goes on
