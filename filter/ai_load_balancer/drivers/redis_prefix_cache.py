"""prefix_cache on a gateway with Redis: global_least_request, where the prompt decides if somebody knows how it begins.

A request whose body cannot be read, or tells nothing about a prompt, is decided by the counts alone.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from proxywasm import HttpContext, RedisClient
from proxywasm.enums import DataAction, HeaderAction

from ..leases import Lease
from ..policies.request_features import Features, read
from ..prefix_leases import PrefixLeases
from ..readable_body import has_readable_body
from .lease_driver import LeaseDriver
from .redis_least_request import RedisLeastRequest

if TYPE_CHECKING:
    from ..plugin import AiLoadBalancer

_AWAIT_BODY = int(HeaderAction.STOP_ITERATION)
_HOLD_BODY = int(DataAction.STOP_ITERATION_AND_BUFFER)
_HOLD_TRAILERS = 1


class RedisPrefixCache(RedisLeastRequest):
    """One request. Its lease is asked for when its body is complete."""

    features: Features | None = None
    matched_blocks = 0
    _awaits_body = False

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        if end_of_stream:
            return super().on_request_headers(num_headers, end_of_stream)
        if not has_readable_body(self):
            self.want_no_more("on_request_body", "on_request_trailers")
            return super().on_request_headers(num_headers, end_of_stream)
        self._awaits_body = True
        return _AWAIT_BODY

    def on_request_body(self, body_size: int, end_of_stream: bool) -> int | None:
        if not end_of_stream:
            return _HOLD_BODY
        return _HOLD_BODY if self._is_asked_for() else None

    def on_request_trailers(self, num_trailers: int) -> int | None:
        return _HOLD_TRAILERS if self._is_asked_for() else None

    def _is_asked_for(self) -> bool:
        """Asks for the lease, once; False if there is nothing to wait for."""
        if not self._awaits_body:
            return False
        self._awaits_body = False
        self.features = read(self.request_body.get() or b"")
        return super().on_request_headers(0, True) is not None

    def _on_reply(self, reply: object) -> None:
        """The reply to prefix_acquire.lua begins as that to acquire.lua."""
        if self.features is not None and type(reply) is list and len(reply) == 3 and type(reply[2]) is int:
            self.matched_blocks = reply.pop()
        super()._on_reply(reply)


class _PromptLeases(PrefixLeases):
    """Leases for requests of RedisPrefixCache."""

    def __init__(self, root: "AiLoadBalancer", client: RedisClient, block_ttl_ms: int, tenant_header: str) -> None:
        super().__init__(root, client, block_ttl_ms)
        self._tenant_header = tenant_header

    def ask(
        self,
        context: HttpContext,
        route: bytes,
        cluster: bytes,
        endpoints: tuple[str, ...],
        on_reply: Callable[[object], object],
    ) -> Lease:
        assert isinstance(context, RedisPrefixCache)
        if context.features is None:
            return super().ask(context, route, cluster, endpoints, on_reply)
        tenant = b""
        if self._tenant_header:
            tenant = (context.request_headers.get(self._tenant_header) or "").encode("utf-8", "surrogateescape")
        return self.ask_for_prefix(context, route, cluster, endpoints, on_reply, context.features, tenant)


class RedisPrefixCacheDriver(LeaseDriver[_PromptLeases]):
    """`block_ttl_ms`: how long a prefix is known; `tenant_header` names who shares prefixes, "" for all."""

    def __init__(self, root: "AiLoadBalancer", client: RedisClient, block_ttl_ms: int, tenant_header: str) -> None:
        super().__init__(_PromptLeases(root, client, block_ttl_ms, tenant_header), RedisPrefixCache)
