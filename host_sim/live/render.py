"""Host calls and callbacks as texts for a page: short, and without what is private.

Bodies, passwords, what goes to Redis and all but a few harmless headers are shown by their sizes only.
"""

from typing import Any

from ..codec import decode_reply
from ..errors import HostCallError
from ..records import CallbackRecord, HostCallRecord

TEXT_SIZE_MAX = 200  # characters of one argument or result
PUBLIC_HEADERS = frozenset(
    b":authority :method :path :scheme :status accept content-length content-type host transfer-encoding"
    b" x-gateway-destination-endpoint x-request-id".split()
)
_PRIVATE_RESULTS = ("proxy_get_buffer_bytes",)
_PRIVATE_ARGUMENTS = {  # by function: the arguments that are shown as sizes
    "proxy_redis_init": (1, 2),
    "proxy_set_buffer_bytes": (3,),
    "proxy_send_local_response": (2,),
    "proxy_http_call": (2,),
    "proxy_inject_encoded_data_to_filter_chain": (0,),
}
_HEADER_CALLS = (
    "proxy_get_header_map_value",
    "proxy_add_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_remove_header_map_value",
)


def host_call_text(record: HostCallRecord) -> str:
    private = _PRIVATE_ARGUMENTS.get(record.function, ())
    arguments = [_size(value) if at in private else _text(value) for at, value in enumerate(record.arguments)]
    hides = record.function in _PRIVATE_RESULTS
    if record.function in _HEADER_CALLS and _lower(record.arguments[1]) not in PUBLIC_HEADERS:
        hides = True
        arguments[2:] = [_size(value) for value in record.arguments[2:]]
    elif record.function in _HEADER_CALLS:
        arguments[2:] = [_text(value.partition(b"?")[0]) for value in record.arguments[2:]]
    if record.function == "proxy_redis_call":
        arguments[1:] = [_redis_command(record.arguments[1])]
    result = _size(record.result) if hides else _text(_public(record))
    return f"{record.function.removeprefix('proxy_')}({', '.join(arguments)}) → {result}"


def callback_text(record: CallbackRecord) -> str:
    arguments = ", ".join(map(str, record.arguments))
    result = "" if record.result is None else f" → {record.result}"
    spent = "" if record.instructions is None else f", {record.instructions:,} instructions"
    return f"{record.name.removeprefix('proxy_')}({arguments}){result}{spent}"


def cut(text: str) -> str:
    return text if len(text) <= TEXT_SIZE_MAX else text[: TEXT_SIZE_MAX - 1] + "…"


def _public(record: HostCallRecord) -> Any:
    """The result; of a path and of a property without what follows the "?"."""
    asks = record.function == "proxy_get_property" or (
        record.function in _HEADER_CALLS and _lower(record.arguments[1]) == b":path"
    )
    return record.result.partition(b"?")[0] if asks and isinstance(record.result, bytes) else record.result


def _lower(name: Any) -> Any:
    return name.lower() if isinstance(name, bytes) else name


def _text(value: Any) -> str:
    if isinstance(value, HostCallError):
        return cut(str(value))
    if value is None:
        return "OK"
    if isinstance(value, bytes):
        return cut(value.replace(b"\0", b".").decode("utf-8", "replace")) or '""'
    if isinstance(value, list):
        return f"{len(value)} pairs"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_text, value)) + ")"
    return cut(str(value))


def _redis_command(query: bytes) -> str:
    try:
        command = decode_reply(query)
    except ValueError:
        command = None
    if isinstance(command, list) and command and isinstance(command[0], bytes):
        return f"{cut(command[0].decode('utf-8', 'replace'))} with {len(command) - 1} arguments"
    return _size(query)


def _size(value: Any) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else _text(value)
