"""A reply by the gateway itself, in the upstream's place."""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from .codec import Pair
from .headers import HeaderMap

NO_GRPC_STATUS = -1
_GRPC_STATUS_MAX = 16
# Envoy's Grpc::Utility::httpToGrpcStatus; all others are UNKNOWN
_GRPC_STATUS_OF_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_GRPC_UNKNOWN = 2


@dataclass(frozen=True, slots=True)
class LocalReply:
    """`details` are Envoy's response code details; `grpc_status` is for gRPC clients, -1 to derive it from `status`."""

    status: int
    details: str
    body: bytes
    headers: tuple[Pair, ...] = ()
    by_filter: bool = False
    grpc_status: int = NO_GRPC_STATUS


def is_grpc(request: HeaderMap) -> bool:
    content_type = request.get(b"content-type") or b""
    return content_type == b"application/grpc" or content_type.startswith((b"application/grpc+", b"application/grpc;"))


def reply_headers(reply: LocalReply, request: HeaderMap | None) -> tuple[HeaderMap, bytes]:
    """(headers, body) as the client gets them: a gRPC client gets headers only."""
    own = {name.lower() for name, _ in reply.headers}
    if request is not None and is_grpc(request):
        status = reply.grpc_status
        if not 0 <= status <= _GRPC_STATUS_MAX:
            status = _GRPC_STATUS_OF_HTTP.get(reply.status, _GRPC_UNKNOWN)
        pairs = [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"grpc-status", b"%d" % status)]
        if reply.body:
            pairs.append((b"grpc-message", quote(reply.body, safe=" !#$&'()*+,/:;=?@[]\"<>\\^`{|}").encode()))
        return HeaderMap(_without(pairs, own) + list(reply.headers)), b""
    pairs = [(b":status", b"%d" % reply.status)]
    if reply.body:
        pairs += [(b"content-length", b"%d" % len(reply.body)), (b"content-type", b"text/plain")]
    return HeaderMap(_without(pairs, own) + list(reply.headers)), reply.body


def _without(pairs: Iterable[Pair], names: set[bytes]) -> list[Pair]:
    return [pair for pair in pairs if pair[0] not in names]
