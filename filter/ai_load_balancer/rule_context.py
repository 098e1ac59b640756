"""A request where there are rules: what applies to it is known in its headers, and a driver's context takes over."""

from typing import TYPE_CHECKING

from proxywasm import HttpContext, capabilities

from .upstream import forget_endpoint

if TYPE_CHECKING:
    from .plugin import AiLoadBalancer


class _CurrentRequest:
    """Reads what a rule asks for, and only that: once the route is read, the gateway has chosen it."""

    def __init__(self, context: HttpContext) -> None:
        self._context = context
        self._target = capabilities.current()

    @property
    def route(self) -> str:
        return (self._target.route_name.get() or b"").decode("utf-8", "replace")

    @property
    def authority(self) -> str:
        return self._context.request_headers.get(":authority") or ""

    @property
    def cluster(self) -> str:
        return (self._target.cluster_name.get() or b"").decode("utf-8", "replace")


class RuleContext(HttpContext):
    """Until the headers came; for good, if no rule applies and there is no global configuration."""

    root: "AiLoadBalancer"

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        driver = self.root.driver_of(_CurrentRequest(self))
        if driver is None:
            forget_endpoint(self)
            return None
        successor = driver.context_class(self.context_id, self.root)
        self.hand_over(successor)
        return successor.on_request_headers(num_headers, end_of_stream)
