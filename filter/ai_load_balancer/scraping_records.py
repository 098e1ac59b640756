"""What was scraped of a cluster's endpoints, as the workers of a gateway tell it to each other.

The value is JSON, as there is little of it: some 100 bytes for each endpoint, whose text has 15 KB.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .policies.endpoint_metrics import Endpoint, View
from .policies.metrics_text import NO_LORA, Lora, Metrics

FAILURES_MAX = 3  # in a row; with so many, an endpoint is away


class Scraped(NamedTuple):
    """What came of a scrape. `endpoint` is None if there was no answer."""

    address: str
    endpoint: Endpoint | None


class Record(NamedTuple):
    """What is known of one endpoint.

    failures: scrapes in a row without an answer
    endpoint: None before the first answer, and while the endpoint is away
    """

    failures: int
    endpoint: Endpoint | None


_AWAITED = Record(0, None)
_AWAY = Record(FAILURES_MAX, None)

Records = Mapping[str, Record]  # by address, in the order of the addresses


def with_addresses(records: Records, addresses: Sequence[str]) -> Records:
    """The records for these endpoints. One that joins others was away; so it is new when it answers first."""
    missing = _AWAY if records else _AWAITED
    return {address: records.get(address, missing) for address in addresses}


def with_scraped(records: Records, scraped: Iterable[Scraped]) -> Records:
    """The records after some scrapes, whose times are in the endpoints. Endpoints without a record are left out."""
    changed = dict(records)
    for address, endpoint in scraped:
        record = changed.get(address)
        if record is None:
            continue
        if endpoint is not None:
            changed[address] = Record(0, _dated(endpoint, record))
        elif record.failures < FAILURES_MAX:
            failures = record.failures + 1
            changed[address] = Record(failures, record.endpoint if failures < FAILURES_MAX else None)
    return changed


def _dated(endpoint: Endpoint, before: Record) -> Endpoint:
    """With the time since when it is healthy, and of an equal text, when it was seen first."""
    last = before.endpoint
    if last is None:
        return endpoint._replace(healthy_at_ms=endpoint.scraped_at_ms) if before.failures >= FAILURES_MAX else endpoint
    if last.fingerprint == endpoint.fingerprint:
        return last
    return endpoint._replace(healthy_at_ms=last.healthy_at_ms)


def view_of(records: Records) -> View:
    """The endpoints that answer."""
    return View([record.endpoint for record in records.values() if record.endpoint is not None])


def encoded(records: Records) -> bytes:
    return json.dumps([_values(address, record) for address, record in records.items()]).encode()


def decoded(value: bytes) -> Records:
    """Empty if the value is none of ours."""
    try:
        return dict([_record(*values) for values in json.loads(value)])
    except (ValueError, TypeError, RecursionError):
        return {}


def _values(address: str, record: Record) -> list[object]:
    failures, endpoint = record
    if endpoint is None:
        return [address, failures]
    times = [endpoint.scraped_at_ms, endpoint.healthy_at_ms]
    if endpoint.metrics is None:
        return [address, failures, endpoint.fingerprint, *times]
    waiting, running, kv_usage, lora, target = endpoint.metrics
    return [
        *(address, failures, endpoint.fingerprint, *times),
        *(waiting, running, kv_usage, target, lora.max_active, *sorted(lora.active)),
    ]


def _record(
    address: str,
    failures: int,
    fingerprint: int | None = None,
    scraped_at_ms: float = 0,
    healthy_at_ms: float | None = None,
    *metrics: Any,
) -> tuple[str, Record]:
    if fingerprint is None:
        return address, Record(failures, None)
    return address, Record(
        failures, Endpoint(address, _metrics(*metrics) if metrics else None, fingerprint, scraped_at_ms, healthy_at_ms)
    )


def _metrics(
    waiting: float | None,
    running: float | None,
    kv_usage: float | None,
    target: float | None,
    max_active: int,
    *active: str,
) -> Metrics:
    lora = Lora(frozenset(active), max_active) if max_active or active else NO_LORA
    return Metrics(waiting, running, kv_usage, lora, target)
