"""global_least_request at work."""

from collections.abc import Sequence
from random import getrandbits
from typing import TYPE_CHECKING

from proxywasm import RedisClient, RedisScript
from proxywasm.redis_client import Argument

from ..config import LeastRequestConfig
from ..explanation import Explainer
from ..leases import WEIGHT, Lease
from ..policies.decision import Rejected, Routed
from ..policies.global_least_request import choose
from ..scripts import ACQUIRE
from ..telemetry import Telemetry
from ..upstream import Upstream
from .lease_driver import LeaseDriver
from .lease_request import RANDOM_BITS, LeaseRequest, detail_argument, handicaps_argument

if TYPE_CHECKING:
    from ..plugin import AiLoadBalancer

_TELEMETRY = Telemetry("global_least_request")


class LeastRequest(LeaseRequest):
    driver: "LeastRequestDriver"

    def command(self, lease: Lease) -> tuple[RedisScript, tuple[Argument, ...]]:
        beginning = self.place.command or self._new_beginning()
        return ACQUIRE, (*beginning, handicaps_argument(self), lease.id, getrandbits(RANDOM_BITS), *self.order)

    def choose(self, in_flight: Sequence[int], random_number: int) -> Routed | Rejected:
        return choose(self.endpoints, in_flight, self.driver.limit, random_number, self.handicaps)

    def _new_beginning(self) -> tuple[Argument, ...]:
        place, driver = self.place, self.driver
        options = (str(WEIGHT), str(driver.lease_ttl_ms), str(driver.limit), detail_argument(driver.explainer))
        place.command = (*ACQUIRE.by_sha, *place.scope.keys, *options)
        return place.command


class LeastRequestDriver(LeaseDriver):
    """`limit` is the highest count that an endpoint may reach; 0 for no limit."""

    def __init__(
        self,
        root: "AiLoadBalancer",
        upstream: Upstream,
        config: LeastRequestConfig,
        explainer: Explainer | None,
        client: RedisClient | None,
    ) -> None:
        super().__init__(root, LeastRequest, _TELEMETRY, upstream, config, explainer, client)
        self.limit = config.max_request_count
