"""A host with the probe plugin (tests/plugins/conformance_probe.py): scripts go in, records of it come out."""

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from host_sim.exchange import Exchange
from host_sim.simulator import Body
from host_sim.testing.hosts import Host, Pending

RECORD_TIMEOUT_S = 20.0
POLL_INTERVAL_S = 0.01

Operations: TypeAlias = Sequence[Any]  # each a list: name, arguments
Script: TypeAlias = Mapping[str, Operations]
Pairs: TypeAlias = Sequence[tuple[str, str]]

REQUEST_HEADERS, REQUEST_TRAILERS, RESPONSE_HEADERS, RESPONSE_TRAILERS = range(4)
CALL_HEADERS, CALL_TRAILERS = 6, 7
REQUEST_BODY, RESPONSE_BODY, CALL_BODY, VM_CONFIGURATION, PLUGIN_CONFIGURATION = 0, 1, 4, 6, 7
REQUEST, RESPONSE = 0, 1
PAUSE = ["return", 1]
OK = None

_ids = itertools.count(1)


def refused(status: str) -> dict[str, str]:
    """What the record holds for a host call that answered `status`."""
    return {"status": status}


@dataclass(frozen=True, slots=True)
class Seen:
    """A played script: what client and upstream saw, and the plugin's record."""

    exchange: Exchange
    events: list[dict[str, Any]]

    @property
    def phases(self) -> list[str]:
        return [event["phase"] for event in self.events]

    def all(self, phase: str) -> list[list[Any]]:
        """The results of the operations, for each time that the phase ran."""
        return [event["results"] for event in self.events if event["phase"] == phase]

    def results(self, phase: str) -> list[Any]:
        """Of the first time."""
        return self.all(phase)[0]

    def arguments(self, phase: str) -> list[list[Any]]:
        return [event["arguments"] for event in self.events if event["phase"] == phase]

    def upstream(self, name: str) -> list[str]:
        """The values of a header as the upstream got them."""
        assert self.exchange.upstream_headers is not None, "the request did not reach an upstream"
        return [value for key, value in self.exchange.upstream_headers if key == name]

    def downstream(self, name: str) -> list[str]:
        return [value for key, value in self.exchange.headers if key == name]


class Probe:
    """What the tests drive. `host` is any host with the probe plugin."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def play(
        self,
        script: Script,
        method: str = "POST",
        path: str = "/",
        headers: Pairs = (),
        body: Body = b"",
        trailers: Pairs = (),
        response: Mapping[str, Any] | None = None,
    ) -> Seen:
        """One request with a script, to its end. `response`: fields of the upstream's ScriptedResponse."""
        return self.start(script, method, path, headers, body, trailers, response).seen()

    def start(
        self,
        script: Script,
        method: str = "POST",
        path: str = "/",
        headers: Pairs = (),
        body: Body = b"",
        trailers: Pairs = (),
        response: Mapping[str, Any] | None = None,
    ) -> "Playing":
        """As `play`, without waiting."""
        script_id = f"s{next(_ids)}"
        text = json.dumps({"id": script_id, **script})
        sent = [("x-script", text), ("x-response", json.dumps(response or {})), *headers]
        # Envoy's HTTP/1.1 codec tells of the end in a call of its own, after the data.
        parts = body if not isinstance(body, bytes) or not body or self.host.kind == "envoy" else [body, b""]
        pending = self.host.start(method, path, sent, parts, trailers=trailers)
        return Playing(self, script_id, pending)

    def fetch(self, script_id: str) -> list[dict[str, Any]]:
        answer = self.host.request("GET", "/", [("x-fetch", script_id)])
        assert answer.status in (200, 404), answer
        events: list[dict[str, Any]] = json.loads(answer.body)
        return events

    def root(self) -> Seen:
        """The record of the plugin's start."""
        answer = self.host.request("GET", "/", [("x-fetch", "root")])
        return Seen(answer, json.loads(answer.body))


@dataclass(frozen=True, slots=True)
class Playing:
    """A script on its way."""

    probe: Probe
    script_id: str
    pending: Pending

    def wait_for(self, phase: str) -> list[dict[str, Any]]:
        """Until the phase has run; the record then."""
        deadline_s = time.monotonic() + RECORD_TIMEOUT_S
        while True:
            events = self.probe.fetch(self.script_id)
            if any(event["phase"] == phase for event in events):
                return events
            assert time.monotonic() < deadline_s, f"{phase} did not run: {events}"
            time.sleep(POLL_INTERVAL_S)

    def seen(self) -> Seen:
        exchange = self.pending.result()
        return Seen(exchange, self.wait_for("delete"))

    def cancel(self) -> list[dict[str, Any]]:
        """The client goes away; the record of the whole stream."""
        self.pending.cancel()
        return self.wait_for("delete")
