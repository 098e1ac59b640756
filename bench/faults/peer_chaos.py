"""What upstreams and clients do, one stream of random numbers for each kind. `calm` ends all that is wrong with it."""

import random
from collections import Counter
from collections.abc import Iterator

from host_sim.upstream import ResponseHeaders, ResponseTrailers
from host_sim.virtual import AFTER_REQUEST, Client, Step, UpstreamFault
from host_sim.virtual.client import Leave
from host_sim.virtual.upstream import TimedRequest

from .cases import LEASE_TTL_S, SESSION_HEADER

CONNECT_FAULT_RATE, RESET_RATE, ERROR_RATE, HANG_RATE, EARLY_RATE = 0.03, 0.04, 0.04, 0.004, 0.01
FIRST_TOKEN_MS, TOKEN_MS, TOKENS_MAX = 120.0, 25.0, 6
LONG_RATE, LONG_TOKEN_MS = 0.004, 1500.0 * LEASE_TTL_S  # streams that outlive a lease which is not renewed
GIVE_UP_RATE, GIVE_UP_MS = 0.15, 150.0
LEAVE_RATE = 0.06
SESSIONS, SESSION_RATE = 40, 0.8

REQUEST_HEADERS = {"content-type": "application/json", "user-agent": "bench"}
STATUS_200 = ResponseHeaders([(b":status", b"200"), (b"content-type", b"text/event-stream")])
SERVER_ERRORS = (b"500", b"502", b"503")


class UpstreamChaos:
    """The script of every endpoint."""

    def __init__(self, seed: str) -> None:
        self.calm = False
        self.calm_answer_ms = 50.0
        self.happened: Counter[str] = Counter()
        self._chance = random.Random(seed)

    def __call__(self, request: TimedRequest) -> Iterator[Step]:
        if self.calm:
            return iter((AFTER_REQUEST, self.calm_answer_ms, STATUS_200, b"data: [DONE]\n\n"))
        return self._script()

    def _script(self) -> Iterator[Step]:
        chance, happened = self._chance, self.happened
        kind = chance.random()
        if (kind := kind - EARLY_RATE) < 0:
            happened["upstream answered before the request ended"] += 1
            yield ResponseHeaders([(b":status", b"413")], True)
            return
        if (kind := kind - CONNECT_FAULT_RATE) < 0:
            happened["upstream refused the connection"] += 1
            yield UpstreamFault.CONNECT
            return
        yield AFTER_REQUEST
        yield chance.expovariate(1 / FIRST_TOKEN_MS)
        if (kind := kind - ERROR_RATE) < 0:
            happened["upstream answered 5xx"] += 1
            yield ResponseHeaders([(b":status", chance.choice(SERVER_ERRORS))], True)
            return
        if (kind := kind - HANG_RATE) < 0:
            happened["upstream never answered"] += 1
            yield 1e9
            return
        resets = kind - RESET_RATE < 0
        if resets and chance.random() < 0.3:
            happened["upstream reset before the response"] += 1
            yield UpstreamFault.RESET
            return
        yield STATUS_200
        token_ms = TOKEN_MS
        if chance.random() < LONG_RATE:
            happened["upstream took very long"] += 1
            token_ms = LONG_TOKEN_MS
        for number in range(chance.randint(1, TOKENS_MAX)):
            yield b'data: {"token": %d}\n\n' % number
            if resets and chance.random() < 0.5:
                happened["upstream reset within the response"] += 1
                yield UpstreamFault.RESET
                return
            yield chance.expovariate(1 / token_ms)
        if chance.random() < 0.05:
            yield ResponseTrailers([(b"x-end", b"1")])


class ClientChaos:
    """The clients, one after the other, with one of `prompts` each."""

    def __init__(self, seed: str, prompts: tuple[bytes, ...]) -> None:
        self.calm = False
        self._prompts = prompts
        self._chance = random.Random(seed)
        self._numbers = 0

    def gap_ms(self, mean_ms: float) -> float:
        """Until the next client."""
        return self._chance.expovariate(1 / mean_ms)

    def next(self) -> Client:
        chance = self._chance
        self._numbers += 1
        headers = {**REQUEST_HEADERS, "x-request-id": str(self._numbers)}
        if chance.random() < SESSION_RATE:
            headers[SESSION_HEADER] = f"session-{chance.randrange(SESSIONS)}"
        prompt = chance.choice(self._prompts)
        if self.calm:
            return Client("POST", "/v1/chat/completions", headers, (prompt,))
        leaves: Leave | None = None
        if chance.random() < LEAVE_RATE:
            leaves = chance.choice(("paused", "response"))
        gives_up_ms = chance.expovariate(1 / GIVE_UP_MS) if chance.random() < GIVE_UP_RATE else None
        if chance.random() < 0.1:
            return Client("GET", "/v1/models", headers, gives_up_ms=gives_up_ms, leaves=leaves)
        body: tuple[bytes | float, ...] = (prompt,)
        if chance.random() < 0.2:
            body = (prompt[:20], chance.expovariate(1 / 10), prompt[20:40], prompt[40:], chance.choice((0.0, 5.0)))
        trailers = {"x-end": "1"} if chance.random() < 0.05 else {}
        return Client("POST", "/v1/chat/completions", headers, body, trailers, gives_up_ms, leaves)
