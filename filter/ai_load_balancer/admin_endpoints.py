"""The endpoints of a cluster as Envoy's admin interface lists them: one worker asks, and tells the others."""

import json
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from proxywasm import HostError, http_client, shared_data
from proxywasm.errors import HttpCallFailed, TooManyPendingCalls

from .log_prefix import root_prefix
from .turns import Turns

if TYPE_CHECKING:
    from .plugin import AiLoadBalancer

INTERVAL_MS = 1_000
TIMEOUT_MS = 1_000
MAX_ANSWER_BYTES = 8 * 1024 * 1024  # some 1.5 KB for each endpoint of all clusters
MAX_ENDPOINTS = 1024  # as in the configuration
_PATH = "/clusters?format=json"
_GOOD_EDS_STATUSES = ("HEALTHY", "UNKNOWN", None)  # unknown: whoever listed the endpoint does not judge its health

_logger = logging.getLogger(__name__)


class AdminEndpoints:
    """The healthy endpoints of `cluster`, asked of `admin_cluster`. What goes wrong leaves the last list as it is."""

    def __init__(self, root: "AiLoadBalancer", admin_cluster: str, cluster: str) -> None:
        self._root = root
        self._admin_cluster = admin_cluster
        self._cluster = cluster
        key = f"ailb:{{{cluster}}}:endpoints"
        self._key = key.encode()
        self._turns = Turns(f"{key}:turns".encode(), INTERVAL_MS)
        self._cas = 0
        self.endpoints: tuple[str, ...] | None = None
        """Sorted, the same object as long as they are the same; None as long as they were never told."""
        self._problem = ""
        with suppress(HostError):
            self._take_over()

    def on_tick(self, now_ms: int) -> None:
        try:
            self._take_over()
            if self._turns.take(now_ms):
                self._ask()
        except (HostError, TooManyPendingCalls) as error:
            self._complain(str(error))

    def _take_over(self) -> None:
        """Reads what some worker has told, if it is new."""
        value, cas = shared_data.get(self._key) or (b"", 0)
        if cas == self._cas:
            return
        self._cas = cas
        endpoints = tuple(value.decode().split())
        if endpoints != self.endpoints:
            self.endpoints = endpoints

    def _ask(self) -> None:
        headers = [(":method", "GET"), (":path", _PATH), (":authority", "admin")]
        http_client.call(self._root, self._admin_cluster, headers, self._on_answer, timeout_ms=TIMEOUT_MS)

    def _on_answer(self, answer: http_client.HttpResponse | HttpCallFailed) -> None:
        try:
            if isinstance(answer, HttpCallFailed):
                raise ValueError(str(answer))
            if answer.status() != 200 or answer.body_size > MAX_ANSWER_BYTES:
                raise ValueError(f"status {answer.status()}, {answer.body_size} bytes")
            endpoints = healthy_endpoints(answer.body(), self._cluster)
            self._take_over()
            if endpoints != self.endpoints:
                shared_data.set(self._key, " ".join(endpoints))
                self._take_over()
        except (HostError, ValueError) as error:
            self._complain(str(error))
        else:
            self._problem = ""

    def _complain(self, problem: str) -> None:
        """Logs a problem, once as long as it stays the same."""
        if problem != self._problem:
            self._problem = problem
            prefix = root_prefix(self._root.plugin_id)
            _logger.warning("%sno endpoints from %s: %s; the last ones stay", prefix, self._admin_cluster, problem)


def healthy_endpoints(answer: bytes, cluster: str) -> tuple[str, ...]:
    """The `ip:port` of the healthy endpoints of a cluster in what the admin interface answers, sorted.

    Raises ValueError if the answer cannot be read or does not know the cluster.
    """
    try:
        clusters = json.loads(answer)["cluster_statuses"]
        [hosts] = [found.get("host_statuses", []) for found in clusters if found["name"] == cluster]
        healthy = {_address(host) for host in hosts if _is_healthy(host.get("health_status", {}))}
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not an answer of the admin interface: {error!r}") from error
    return tuple(sorted(healthy))[:MAX_ENDPOINTS]


def _address(host: dict[str, dict[str, dict[str, object]]]) -> str:
    socket = host["address"]["socket_address"]
    address = str(socket["address"])
    return f"[{address}]:{socket['port_value']}" if ":" in address else f"{address}:{socket['port_value']}"


def _is_healthy(status: dict[str, object]) -> bool:
    """Each flag of a health status tells of a reason against the endpoint."""
    return status.get("eds_health_status") in _GOOD_EDS_STATUSES and True not in status.values()
