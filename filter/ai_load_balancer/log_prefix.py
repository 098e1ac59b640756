"""The beginning of every log line that is about a request."""

from typing import TYPE_CHECKING

from proxywasm import HostError, HttpContext

if TYPE_CHECKING:
    from .plugin import AiLoadBalancer

NAME = "ai-load-balancer"


def root_prefix(plugin_id: str) -> str:
    """For lines that are about no request."""
    return f"[{NAME}] [{plugin_id or 'nil'}] [nil] "


def log_prefix(context: HttpContext) -> str:
    """`[plugin] [plugin id or nil] [request id or nil] ` for the current request."""
    root: AiLoadBalancer = context.root  # type: ignore[assignment]
    try:
        request_id = context.request_headers.get("x-request-id")
    except HostError:
        request_id = None  # the headers are gone already
    return f"[{NAME}] [{root.plugin_id or 'nil'}] [{request_id or 'nil'}] "
