"""The healthy endpoints in what Higress says about a cluster, read once as long as it says the same."""

import json
from collections.abc import Iterable

from proxywasm import higress

MAX_CLUSTERS = 256  # remembered at a time


class UpstreamHosts:
    """Remembers per cluster the last answer of the host and the endpoints in it."""

    def __init__(self) -> None:
        self._seen: dict[bytes, tuple[bytes, tuple[str, ...]]] = {}

    def healthy(self, cluster: bytes, answer: bytes) -> tuple[str, ...]:
        """The healthy endpoints in `answer`, which is higress.upstream_hosts() for a request to `cluster`.

        They are sorted, so that all workers see them in the same order, whatever that of the host is; and as long as
        they are the same, so is the object.

        Raises ValueError if the answer is not a serialised map.
        """
        seen = self._seen.get(cluster)
        if seen is not None and seen[0] == answer:
            return seen[1]
        endpoints = tuple(sorted(healthy_endpoints(higress.decode_upstream_hosts(answer))))
        if seen is not None and seen[1] == endpoints:
            endpoints = seen[1]
        if len(self._seen) >= MAX_CLUSTERS:
            self._seen.clear()
        self._seen[cluster] = answer, endpoints
        return endpoints


def healthy_endpoints(hosts: Iterable[tuple[str, str]]) -> list[str]:
    """The addresses whose description has the health status `Healthy`."""
    return [address for address, description in hosts if is_healthy(description)]


def is_healthy(description: str) -> bool:
    """Whether a JSON description has `health_status` = `Healthy`; one that cannot be read is not healthy.

    The description may hold 15 KB of metrics, so JSON is parsed only if it is not in the form that the host writes. In
    a JSON string a quote is escaped, so that metrics cannot contain what is looked for.
    """
    if '"health_status":"Healthy"' in description:
        return True
    if '"health_status":"' in description:
        return False
    try:
        value = json.loads(description)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("health_status") == "Healthy"
