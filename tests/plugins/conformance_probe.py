"""Does what a test says, in the callback that it says, and keeps a record of what came of it.

A request carries its script in the header `x-script`, as JSON: {"id": ..., phase: [operation, ...]}. A phase is the
name of a callback without `on_`, or a name that an operation gives to a reply or a tick. An operation is a list: the
name of a host call or of an operation below, and its arguments. Arguments that begin with `$` stand for values: see
`Record.resolve`.

A request with `x-fetch: ID` is answered with the record of that script, as JSON: one entry per phase that ran, with the
callback's arguments and the results of the operations; a refused call is {"status": NAME}. The record of the plugin's
start is `root`.
"""

import json
import os
import random
import sys
import time
from typing import Any

from proxywasm import HttpContext, RootContext, Status, http_client, send_local_response
from proxywasm._host import host
from proxywasm.errors import HostError

RECORDS_MAX = 1000


class Record:
    """What happened to one script. `names`: what `$name` stands for."""

    def __init__(self, script: dict[str, Any]) -> None:
        self.script = script
        self.events: list[dict[str, Any]] = []
        self.names: dict[str, Any] = {}

    def run(self, phase: str, *arguments: object) -> int | None:
        """The operations of a phase; what the last `return` says."""
        results: list[Any] = []
        self.events.append({"phase": phase, "arguments": arguments, "results": results})
        returned = None
        for operation, *operands in self.script.get(phase, ()):
            operands = [self.resolve(operand) for operand in operands]
            if operation == "return":
                returned = operands[0]
                continue
            self.names["previous"] = value = self.perform(operation, operands)
            results.append(value)
        return returned

    def perform(self, operation: str, operands: list[Any]) -> Any:
        try:
            if operation in OPERATIONS:
                return plain(OPERATIONS[operation](self, *operands))
            return plain(getattr(host, operation)(*operands))
        except HostError as error:
            return {"status": Status(error.status).name}

    def resolve(self, operand: Any) -> Any:
        """$previous: the result before; $NAME: what `save` named; $root, $context: ids. `.N` takes a part of it."""
        if isinstance(operand, list):
            return tuple(self.resolve(item) for item in operand)
        if not isinstance(operand, str) or not operand.startswith("$"):
            return operand
        name, _, part = operand[1:].partition(".")
        value = self.names[name]
        return value[int(part)] if part else value


def plain(value: Any) -> Any:
    """As JSON can carry it; bytes as Latin-1."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def save(record: Record, name: str) -> None:
    record.names[name] = record.names["previous"]


def context_of(record: Record, script_id: str) -> int:
    """The context id of another script's stream."""
    return int(records[script_id].names["context"])


def call_upstream(record: Record, upstream: str, phase: str, *arguments: Any) -> int:
    """headers, body, trailers, timeout_ms; the reply runs `phase` with the root as the current context."""
    headers, body, trailers, timeout_ms = arguments

    def on_reply(response: object) -> None:
        record.run(phase, type(response).__name__)

    return http_client.call(
        record.names["root_context"], upstream, headers, on_reply, body=body, trailers=trailers, timeout_ms=timeout_ms
    )


def at_tick(record: Record, period_ms: int, phase: str) -> None:
    """The next tick runs `phase`, once."""
    waiting["tick"] = (record, phase)
    host.set_tick_period_milliseconds(period_ms)


def at_queue(record: Record, phase: str) -> None:
    """The next on_queue_ready runs `phase`, once."""
    waiting["queue"] = (record, phase)


def write(record: Record, stream: str, text: str) -> None:
    print(text, file=getattr(sys, stream), flush=True)


def fail(record: Record) -> None:
    raise RuntimeError("on purpose")


OPERATIONS: dict[str, Any] = {
    "save": save,
    "context_of": context_of,
    "call_upstream": call_upstream,
    "at_tick": at_tick,
    "at_queue": at_queue,
    "write": write,
    "fail": fail,
    "time_ns": lambda record: time.time_ns(),
    "monotonic_ns": lambda record: time.monotonic_ns(),
    "urandom": lambda record, size: os.urandom(size).hex(),
    "random": lambda record: random.random(),
    "environment": lambda record: dict(os.environ),
    "arguments": lambda record: list(sys.argv),
}

records: dict[str, Record] = {}
waiting: dict[str, tuple[Record, str]] = {}


class ProbeHttp(HttpContext):
    record: Record | None = None

    def run(self, phase: str, *arguments: object) -> int | None:
        return self.record.run(phase, *arguments) if self.record is not None else None

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        fetched = self.request_headers.get("x-fetch")
        if fetched is not None:
            found = records.get(fetched)
            send_local_response(200 if found else 404, json.dumps(found.events if found else []))
            return None
        script = self.request_headers.get("x-script")
        if script is None:
            return None
        record = self.record = Record(json.loads(script))
        record.names |= {"context": self.context_id, "root": self.root.context_id, "root_context": self.root}
        records[record.script["id"]] = record
        if len(records) > RECORDS_MAX:
            del records[next(iter(records))]
        return record.run("request_headers", num_headers, end_of_stream)

    def on_request_body(self, body_size: int, end_of_stream: bool) -> int | None:
        return self.run("request_body", body_size, end_of_stream)

    def on_request_trailers(self, num_trailers: int) -> int | None:
        return self.run("request_trailers", num_trailers)

    def on_response_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        return self.run("response_headers", num_headers, end_of_stream)

    def on_response_body(self, body_size: int, end_of_stream: bool) -> int | None:
        return self.run("response_body", body_size, end_of_stream)

    def on_response_trailers(self, num_trailers: int) -> int | None:
        return self.run("response_trailers", num_trailers)

    def on_done(self) -> bool | None:
        returned = self.run("done")
        return None if returned is None else bool(returned)

    def on_log(self) -> None:
        self.run("log")

    @property
    def is_deleted(self) -> bool:
        return False

    @is_deleted.setter
    def is_deleted(self, value: bool) -> None:
        """The SDK sets it in on_delete, which is no callback of a context."""
        self.run("delete")


START = {
    "id": "root",
    "vm_start": [["get_buffer_bytes", 6, 0, 1000], ["get_buffer_bytes", 7, 0, 1000], ["set_property", "a", "1"]],
    "configure": [
        ["get_buffer_bytes", 7, 0, 1000],
        ["get_buffer_bytes", 6, 0, 1000],
        ["get_property", "plugin_name"],
        ["get_property", "plugin_root_id"],
        ["get_property", "plugin_vm_id"],
        ["get_header_map_pairs", 0],
        ["get_buffer_bytes", 0, 0, 10],
        ["continue_stream", 0],
        ["send_local_response", 200, "", "", [], -1],
        ["set_property", "a", "1"],
        ["get_status"],
        ["done"],
        ["set_effective_context", 123456],
    ],
}


class Probe(RootContext):
    http_context = ProbeHttp

    def on_vm_start(self, vm_configuration_size: int) -> bool | None:
        records["root"] = Record(START)
        records["root"].run("vm_start", vm_configuration_size)
        return None

    def on_configure(self, configuration_size: int) -> bool | None:
        records["root"].run("configure", configuration_size)
        return None

    def on_tick(self) -> None:
        self.set_tick_period(0)
        self._run_waiting("tick")

    def on_queue_ready(self, queue_id: int) -> None:
        self._run_waiting("queue", queue_id)

    def _run_waiting(self, kind: str, *arguments: object) -> None:
        record, phase = waiting.pop(kind, (None, ""))
        if record is not None:
            record.run(phase, *arguments)
