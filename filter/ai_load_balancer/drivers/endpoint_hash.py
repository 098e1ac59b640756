"""endpoint_hash at work: a header's value prefers some endpoints to others.

A request without the header is decided by the counts alone; both kinds count in the same leases.
"""

from collections.abc import Sequence
from random import getrandbits
from typing import TYPE_CHECKING

from proxywasm import RedisClient, RedisScript
from proxywasm.redis_client import Argument

from ..config import EndpointHashConfig
from ..explanation import Explainer
from ..leases import WEIGHT, Lease
from ..policies import endpoint_hash, global_least_request
from ..policies.decision import Rejected, Routed
from ..scripts import ACQUIRE, ACQUIRE_BOUNDED
from ..telemetry import Telemetry
from ..upstream import Upstream
from .lease_driver import LeaseDriver
from .lease_request import RANDOM_BITS, LeaseRequest, detail_argument, handicaps_argument

if TYPE_CHECKING:
    from ..plugin import AiLoadBalancer

_TELEMETRY = Telemetry("endpoint_hash")


class EndpointHash(LeaseRequest):
    driver: "EndpointHashDriver"
    has_session = False

    def prepare(self) -> None:
        driver = self.driver
        session = self.request_headers.get(driver.hash_header)
        if session:
            self.has_session = True
            self.order = driver.orders.order(self.endpoints, session)

    def command(self, lease: Lease) -> tuple[RedisScript, tuple[Argument, ...]]:
        place, driver = self.place, self.driver
        if not self.has_session:
            options = (str(WEIGHT), str(driver.lease_ttl_ms), "0", driver.detail, handicaps_argument(self), lease.id)
            random_number = getrandbits(RANDOM_BITS)
            return ACQUIRE, (*ACQUIRE.by_sha, *place.scope.keys, *options, random_number, *self.order)
        beginning = place.command
        if not beginning:
            bound = (str(WEIGHT), str(driver.lease_ttl_ms), str(driver.load_factor), driver.detail)
            beginning = place.command = (*ACQUIRE_BOUNDED.by_sha, *place.scope.keys, *bound)
        return ACQUIRE_BOUNDED, (*beginning, handicaps_argument(self), lease.id, *self.order)

    def choose(self, in_flight: Sequence[int], random_number: int) -> Routed | Rejected:
        if not self.has_session:
            return global_least_request.choose(self.endpoints, in_flight, 0, random_number, self.handicaps)
        count_of = dict(zip(self.endpoints, in_flight, strict=True))
        counts = [count_of[endpoint] for endpoint in self.order]
        return endpoint_hash.choose(self.order, counts, self.driver.load_factor, self.handicaps)

    def terms(self) -> dict[str, object]:
        return {"preferred": self.order[0] if self.has_session else ""}


class EndpointHashDriver(LeaseDriver):
    """`hash_header` names the session; `load_factor`: the bound, as a multiple of the mean count, at least 1."""

    def __init__(
        self,
        root: "AiLoadBalancer",
        upstream: Upstream,
        config: EndpointHashConfig,
        explainer: Explainer | None,
        client: RedisClient | None,
    ) -> None:
        super().__init__(root, EndpointHash, _TELEMETRY, upstream, config, explainer, client)
        self.hash_header = config.hash_header
        self.load_factor = config.load_factor
        self.detail = detail_argument(explainer)
        self.orders = endpoint_hash.EndpointHash()
