"""A request where there are rules: what applies to it is known in its headers, and a driver's context takes over."""

from typing import TYPE_CHECKING

from proxywasm import HttpContext, capabilities

from .config import Request

if TYPE_CHECKING:
    from .plugin import AiLoadBalancer


class RuleContext(HttpContext):
    """Until the headers came; for good, if no rule applies and there is no global configuration."""

    root: "AiLoadBalancer"

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        driver = self.root.driver_of(self._request())
        if driver is None:
            return None
        successor = driver.context_class(self.context_id, self.root)
        self.hand_over(successor)
        return successor.on_request_headers(num_headers, end_of_stream)

    def _request(self) -> Request:
        target = capabilities.current()
        return Request(
            route=(target.route_name.get() or b"").decode("utf-8", "replace"),
            authority=self.request_headers.get(":authority") or "",
            cluster=(target.cluster_name.get() or b"").decode("utf-8", "replace"),
        )
