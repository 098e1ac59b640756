"""From a policy's configuration to its driver."""

from typing import TYPE_CHECKING

from ..config import PolicyConfig
from .driver import Driver
from .local_least_request import LocalLeastRequest, LocalLeastRequestDriver
from .redis_least_request import RedisLeastRequest, RedisLeastRequestDriver

if TYPE_CHECKING:
    from ..plugin import AiLoadBalancer

CONTEXT_CLASSES = (RedisLeastRequest, LocalLeastRequest)


def make_driver(root: "AiLoadBalancer", config: PolicyConfig) -> Driver:
    if config.redis is None:
        return LocalLeastRequestDriver(root.local_counts, config.endpoints, config.max_request_count)
    return RedisLeastRequestDriver(root, root.redis_client(config.redis), config.max_request_count)
