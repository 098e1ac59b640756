"""A small load balancer over our scripts, without and with one mistake each: the rules of bench/faults must see it."""

from itertools import count
from random import getrandbits

from ai_load_balancer.scripts import ACQUIRE, RELEASE, RENEW, in_flight_keys
from proxywasm import HttpContext, RedisClient, RootContext, capabilities, continue_request, higress

KEYS = in_flight_keys(b"route", b"outbound|80||llm.static")
ENDPOINTS = tuple(f"10.0.0.{number}:8000" for number in range(1, 6))
LEASE_TTL_MS = 60_000
TIMEOUT_MS = 400


class Balanced(HttpContext):
    """Asks for a lease, holds the request until the reply, and gives the lease back at the end."""

    root: "NoMistake"
    is_done = False

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        self.lease = f"{self.root.name}-{next(self.root.numbers)}"
        self.root.held[self.lease] = ENDPOINTS[0]
        lease = (self.lease, getrandbits(31), *self.root.candidates)
        command: tuple[str | bytes | int, ...] = (*ACQUIRE.by_sha, *KEYS, 1, LEASE_TTL_MS, 0, 0, "", *lease)
        self.root.client.call(self, command, self.on_reply, self.on_reply, ACQUIRE)
        return capabilities.HIGRESS.hold_request

    def on_reply(self, reply: object) -> None:
        if isinstance(reply, list) and len(reply) == 2 and reply[0] in range(1, len(ENDPOINTS) + 1) and reply[1] > 0:
            if not self.is_done:
                higress.set_override_host(ENDPOINTS[reply[0] - 1])
        elif not self.root.continues_after_errors:
            return
        if self.is_done:
            self.root.give_back(self.lease)
        else:
            continue_request()

    def on_done(self) -> bool | None:
        self.is_done = True
        self.root.give_back(self.lease)
        return None


class RaisingContext(Balanced):
    def on_done(self) -> bool | None:
        super().on_done()
        raise ValueError("a mistake")


class NoMistake(RootContext):
    http_context = Balanced
    candidates = ENDPOINTS
    continues_after_errors = True

    def on_configure(self, configuration_size: int) -> bool | None:
        self.name = f"{getrandbits(64):x}"
        self.numbers = count()
        self.held: dict[str, str] = {}
        self.client = RedisClient("outbound|6379||redis.static", timeout_ms=TIMEOUT_MS)
        self.client.init()
        self.set_tick_period(LEASE_TTL_MS // 3)
        return None

    def on_tick(self) -> None:
        for lease, endpoint in self.held.items():
            self.client.call(self, (*RENEW.by_sha, *KEYS, LEASE_TTL_MS, lease, 1, endpoint), script=RENEW)

    def give_back(self, lease: str) -> None:
        self.held.pop(lease, None)
        self.client.call(self, (*RELEASE.by_sha, *KEYS, lease), script=RELEASE)


class ForgetsToGiveBack(NoMistake):
    def give_back(self, lease: str) -> None:
        pass


class ForgetsToRenew(NoMistake):
    def on_tick(self) -> None:
        pass


class HoldsAfterErrors(NoMistake):
    continues_after_errors = False


class ChoosesTheFirst(NoMistake):
    candidates = ENDPOINTS[:1]


class Raises(NoMistake):
    http_context = RaisingContext
