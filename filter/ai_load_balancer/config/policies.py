"""What each policy is configured with: one dataclass per policy, the single source of its keys."""

from dataclasses import dataclass

from .keys import integer, text

MAX_TIMEOUT_MS = 600_000
MAX_REQUEST_COUNT = 2**31 - 1
DEFAULT_REDIS_TIMEOUT_MS = 3000


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisConfig:
    """Where Redis is, as the gateway knows it."""

    service_fqdn: str = text("serviceFQDN", "the name of the Redis service")
    service_port: int = integer("servicePort", "the port of the Redis service", 1, 65535)
    username: str = text("username", "for AUTH", "")
    password: str = text("password", "for AUTH", "")
    given_timeout_ms: int = integer("timeout", "ms to wait for a reply; 0 for 3000", 0, MAX_TIMEOUT_MS, 0)
    database: int = integer("database", "the number of the database", 0, 2**31 - 1, 0)

    @property
    def cluster(self) -> str:
        return f"outbound|{self.service_port}||{self.service_fqdn}"

    @property
    def timeout_ms(self) -> int:
        return self.given_timeout_ms or DEFAULT_REDIS_TIMEOUT_MS

    def __repr__(self) -> str:
        return f"RedisConfig({self.cluster!r}, database={self.database}, timeout_ms={self.timeout_ms})"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastRequestConfig:
    """global_least_request. `redis` is there on the targets that have it, `endpoints` on those that do not."""

    redis: RedisConfig | None
    endpoints: tuple[str, ...]
    max_request_count: int = integer(
        "maxRequestCount",
        "the most requests in flight at an endpoint, above it the answer is 429; 0 for no limit",
        0,
        MAX_REQUEST_COUNT,
        0,
    )


POLICIES: dict[str, type] = {"global_least_request": LeastRequestConfig}
