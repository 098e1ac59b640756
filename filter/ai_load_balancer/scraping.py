"""Stock Envoy tells plugins no metrics, so they are scraped: on the tick, by one worker at a time, for all of them.

Each endpoint is asked through the cluster that it belongs to, named by the header of Envoy's override_host balancing.
What the answers hold is in the gateway's shared data; requests are decided from this worker's reading of it.
"""

import logging
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from proxywasm import Counter, HostError, clock, http_client, shared_data
from proxywasm.errors import HttpCallFailed, ProxyWasmError

from .log_prefix import root_prefix
from .policies.endpoint_metrics import Endpoint, View
from .policies.metrics_text import LINE_END
from .scraping_records import FAILURES_MAX, Records, Scraped, decoded, encoded, view_of, with_addresses, with_scraped
from .turns import Turns
from .upstream import ENDPOINT_HEADER, Upstream
from .upstream_metrics import ReadMetrics

if TYPE_CHECKING:
    from .plugin import AiLoadBalancer

MAX_CALLS = 32  # at once; the other endpoints of a round wait for their turn
MAX_TIMEOUT_MS = 2_000
MAX_TEXT_BYTES = 1024 * 1024  # engines print 15 KB, a data-parallel deployment some 100 KB
TICKS_PER_INTERVAL = 4  # so much later at most, a worker knows what another one has scraped

_ANSWERED = Counter("ailb_scrapes_total.outcome.answered")
_FAILED = Counter("ailb_scrapes_total.outcome.failed")

_logger = logging.getLogger(__name__)


class Scraper:
    """Scrapes the endpoints of `upstream`, whose cluster is `cluster`, every `interval_ms`.

    `read` takes what is wanted out of a text, and `scope` names what that is: scrapers of one cluster, path and scope
    share what they know.
    """

    def __init__(
        self,
        root: "AiLoadBalancer",
        upstream: Upstream,
        read: ReadMetrics,
        cluster: str,
        path: str,
        interval_ms: int,
        scope: bytes,
    ) -> None:
        self.tick_period_ms = interval_ms // TICKS_PER_INTERVAL
        self._root = root
        self._upstream = upstream
        self._read = read
        self._cluster = cluster
        self._path = path
        self._timeout_ms = min(interval_ms, MAX_TIMEOUT_MS)
        self._key = b"ailb:{%b}:scraped:%b:%b" % (cluster.encode(), path.encode(), scope)
        self._turns = Turns(self._key + b":turns", interval_ms)
        self._addresses: tuple[str, ...] = ()  # of the round that goes on, or the last one
        self._waiting: deque[str] = deque()
        self._calls = 0
        self._scraped: list[Scraped] = []  # and not told yet
        self._cas = 0
        self._records: Records = {}
        self._view = View([])
        with suppress(HostError):
            self._take_over()

    def view(self, cluster: bytes, now_ms: float) -> View:
        """The endpoints that answer. As long as nothing was scraped, it is the same object."""
        return self._view

    def on_tick(self, now_ms: int) -> None:
        self._exchange()
        if self._calls:
            return
        try:
            if self._turns.take(now_ms):
                self._start_round()
        except HostError as error:
            self._complain("nothing is scraped: %s", error)

    def _start_round(self) -> None:
        addresses = self._upstream.endpoints(self._cluster.encode())
        if addresses is not self._addresses:
            self._addresses = addresses
            self._exchange(is_news=True)
        self._waiting.extend(addresses)
        self._ask_more()

    def _ask_more(self) -> None:
        while self._waiting and self._calls < MAX_CALLS:
            address = self._waiting.popleft()
            headers = [
                (":method", "GET"),
                (":path", self._path),
                (":authority", address),
                (ENDPOINT_HEADER, address),
            ]
            on_answer = partial(self._on_answer, address)
            try:
                http_client.call(self._root, self._cluster, headers, on_answer, timeout_ms=self._timeout_ms)
            except ProxyWasmError as error:
                self._fail(address, str(error))
            else:
                self._calls += 1

    def _on_answer(self, address: str, answer: http_client.HttpResponse | HttpCallFailed) -> None:
        self._calls -= 1
        if isinstance(answer, HttpCallFailed):
            self._fail(address, str(answer))
        elif answer.status() != 200:
            self._fail(address, f"status {answer.status()}")
        elif answer.body_size > MAX_TEXT_BYTES:
            self._fail(address, f"a text of {answer.body_size} bytes")
        else:
            _ANSWERED.increment(1)
            self._scraped.append(Scraped(address, self._endpoint(address, answer.body())))
        self._ask_more()
        if not self._calls:
            self._exchange()

    def _endpoint(self, address: str, text: bytes) -> Endpoint:
        """An equal text is not read again."""
        fingerprint = hash(text) & 0xFFFFFFFF
        record = self._records.get(address)
        last = record.endpoint if record is not None else None
        metrics = last.metrics if last is not None and last.fingerprint == fingerprint else self._read(text, LINE_END)
        return Endpoint(address, metrics, fingerprint, clock.now_ns() / 1e6)

    def _fail(self, address: str, reason: str) -> None:
        _FAILED.increment(1)
        self._scraped.append(Scraped(address, None))
        record = self._records.get(address)
        if record is not None and record.failures == FAILURES_MAX - 1:
            self._complain("%s does not answer GET %s: %s", address, self._path, reason)

    def _exchange(self, is_news: bool = False) -> None:
        """Tells the other workers what was scraped here, and reads what they tell."""
        try:
            if self._scraped or is_news:
                self._tell()
            self._take_over()
        except HostError as error:
            self._complain("the metrics stay as they are: %s", error)

    def _tell(self) -> None:
        scraped, self._scraped = self._scraped, []

        def change(value: bytes | None) -> bytes:
            records = with_addresses(decoded(value or b""), self._addresses)
            return encoded(with_scraped(records, scraped))

        shared_data.update(self._key, change)

    def _take_over(self) -> None:
        """Reads what some worker has told, if it is new."""
        value, cas = shared_data.get(self._key) or (b"", 0)
        if cas != self._cas:
            self._cas = cas
            self._records = decoded(value)
            self._view = view_of(self._records)

    def _complain(self, text: str, *arguments: object) -> None:
        _logger.warning("%s" + text, root_prefix(self._root.plugin_id), *arguments)
