"""The attributes of a stream (Envoy's "request", "response", ...) as properties: numbers are u64 LE.

As on Envoy, those that are read from a header map can be read only while the map can: see headers.py.
"""

from typing import TYPE_CHECKING

from ..headers import HeaderMap

if TYPE_CHECKING:
    from ..http_filter import HttpFilter

_REQUEST_HEADERS = {
    b"path": b":path",
    b"method": b":method",
    b"scheme": b":scheme",
    b"host": b":authority",
    b"id": b"x-request-id",
    b"useragent": b"user-agent",
    b"referer": b"referer",
}


def attribute(context: "HttpFilter", path: bytes) -> bytes | None:
    """`path`: parts joined by NUL; None if there is no such attribute, or not now."""
    kind, _, name = path.partition(b"\0")
    if kind == b"request":
        return _of_request(context, name)
    if kind == b"response":
        return _of_response(context, name)
    if path == b"upstream\0address" and context.stream.endpoint is not None:
        return context.stream.endpoint.address.encode()
    return None


def _number(value: int) -> bytes:
    return value.to_bytes(8, "little")


def _of_request(context: "HttpFilter", name: bytes) -> bytes | None:
    direction = context.request
    if name == b"protocol":
        return b"HTTP/1.1"
    if name == b"size":
        return _number(direction.received_size)
    headers = direction.headers if direction.headers_open or context.logging else None
    if headers is None:
        return None
    if name in (b"url_path", b"query"):
        url, _, query = (headers.get(b":path") or b"").partition(b"?")
        return url if name == b"url_path" else query
    if name in _REQUEST_HEADERS:
        return headers.get(_REQUEST_HEADERS[name])
    return _header(headers, name)


def _of_response(context: "HttpFilter", name: bytes) -> bytes | None:
    direction = context.response
    if name == b"code" and direction.headers is not None:
        return _number(int(direction.headers.get(b":status") or b"0"))
    if name == b"size":
        return _number(direction.received_size)
    if name == b"code_details" and direction.headers is not None:
        reply = context.stream.local_reply
        return reply.details.replace(" ", "_").encode() if reply is not None else b"via_upstream"
    headers = direction.headers if direction.headers_open or context.logging else None
    return _header(headers, name) if headers is not None else None


def _header(headers: HeaderMap, name: bytes) -> bytes | None:
    kind, _, header = name.partition(b"\0")
    return headers.get(header) if kind == b"headers" and header else None
