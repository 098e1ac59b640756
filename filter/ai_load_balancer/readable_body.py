"""Which requests have a body that a policy may read: as the Go plugin decides it."""

from proxywasm import HttpContext


def has_readable_body(context: HttpContext) -> bool:
    """Whether the body of the current request is neither binary nor compressed, and the request no WebSocket upgrade.

    That a body follows at all, is for the caller to know.
    """
    get = context.request_headers.get
    content_type = get("content-type") or ""
    if "octet-stream" in content_type or "grpc" in content_type or get("content-encoding"):
        return False
    return (get("upgrade") or "").lower() != "websocket"
