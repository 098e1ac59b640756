"""gRPC calls and streams, as Envoy's gRPC client tells a plugin of them."""

from typing import Any

import pytest

from host_sim import ScriptedGrpc
from tests.host_sim.guests import Play, status_of

GRPC_SERVICE = b"\x0a\x05\x0a\x03llm"  # envoy.config.core.v3.GrpcService{envoy_grpc: {cluster_name: "llm"}}
NAMES = (b"pkg.Service", b"Method")


class Caller:
    """A plugin whose tick runs `on_tick(call)`; `seen` is what came back."""

    def __init__(self, on_tick: Any = None, **options: Any) -> None:
        self.seen: list[Any] = []
        self.result: Any = None
        callbacks: dict[str, Any] = {
            "grpc_receive_initial_metadata": self.initial,
            "grpc_receive": self.receive,
            "grpc_receive_trailing_metadata": self.trailing,
            "grpc_close": self.close,
            "tick": lambda call, root: self.run(call),
        }
        self.on_tick = on_tick
        self.sim = Play(**options).on(**callbacks).start()

    def run(self, call: Any) -> None:
        self.result = self.on_tick(call)

    def tick(self, on_tick: Any) -> Any:
        self.on_tick = on_tick
        self.sim.vm.tick()
        return self.result

    def initial(self, call: Any, root: int, call_id: int, count: int) -> None:
        self.seen.append(("initial", call_id, count, call("get_header_map_pairs", 4)))

    def receive(self, call: Any, root: int, call_id: int, size: int) -> None:
        self.seen.append(("message", call_id, call("get_buffer_bytes", 5, 0, size)))

    def trailing(self, call: Any, root: int, call_id: int, count: int) -> None:
        self.seen.append(("trailing", call_id, count, call("get_header_map_value", 5, b"t")))

    def close(self, call: Any, root: int, call_id: int, status: int) -> None:
        self.seen.append(("close", call_id, status, call("get_status")))

    def start_call(self, timeout_ms: int = 0, upstream: bytes = b"llm") -> Any:
        return self.tick(lambda call: call("grpc_call", upstream, *NAMES, [(b"m", b"1")], b"ask", timeout_ms))

    def start_stream(self) -> Any:
        return self.tick(lambda call: call("grpc_stream", b"llm", *NAMES, []))

    @property
    def pending(self) -> Any:
        return self.sim.gateway.grpc.oldest()


@pytest.mark.parametrize("upstream", [b"llm", GRPC_SERVICE])
def test_a_call_that_succeeds_ends_with_its_message(upstream: bytes) -> None:
    """Token low 2 bits: gRPC call 1; step 4."""
    caller = Caller()
    assert caller.start_call(upstream=upstream) == 5
    call = caller.pending
    assert (call.cluster, call.service, call.method, call.message) == ("llm", "pkg.Service", "Method", b"ask")
    assert call.metadata == [(b"m", b"1")]
    call.events.message(b"answer")
    call.events.closed(0)  # the end of a call that has ended is not told
    assert caller.seen == [("message", 5, b"answer")]
    assert caller.start_call() == 9
    caller.pending.events.closed(5, "no such thing")
    caller.sim.gateway.grpc.pending[-1].events.message(b"second")
    caller.sim.finish()


def test_a_call_that_fails_ends_with_its_status() -> None:
    caller = Caller()
    caller.start_call()
    caller.pending.events.closed(5, "no such thing")
    assert caller.seen == [("close", 5, 5, (5, b"no such thing"))]
    assert caller.tick(lambda call: call("get_status")) == (5, b"")  # the code stays, as on Envoy
    caller.sim.finish()


def test_a_call_that_times_out_is_unavailable() -> None:
    """Seen on Envoy 1.40: status 14 with the text of its 504."""
    caller = Caller()
    caller.start_call(timeout_ms=100)
    caller.sim.advance(100)
    assert caller.seen == [("close", 5, 14, (14, b"upstream request timeout{response_timeout}"))]
    caller.sim.finish()


def test_a_stream_sends_and_receives() -> None:
    """Token low 2 bits: gRPC stream 2."""
    caller = Caller()
    stream_id = caller.start_stream()
    assert stream_id == 6
    stream = caller.pending
    assert (stream.message, stream.half_closed) == (None, False)
    caller.tick(lambda call: call("grpc_send", stream_id, b"one", 0))
    stream.events.initial_metadata([(b"i", b"1")])
    stream.events.message(b"two")
    stream.events.message(b"three")
    caller.tick(lambda call: call("grpc_send", stream_id, b"four", 1))
    assert (stream.sent, stream.half_closed) == ([b"one", b"four"], True)
    stream.events.trailing_metadata([(b"t", b"2")])
    stream.events.closed(0)
    stream.events.message(b"late")
    assert [event[0] for event in caller.seen] == ["initial", "message", "message", "trailing", "close"]
    assert caller.seen[0][3] == [(b"i", b"1")]
    assert caller.seen[3] == ("trailing", 6, 1, b"2")
    assert caller.tick(lambda call: status_of(call, "grpc_send", stream_id, b"x", 0)) == "OK"  # to nobody
    assert caller.tick(lambda call: status_of(call, "grpc_close", stream_id)) == "OK"
    assert caller.tick(lambda call: status_of(call, "grpc_close", stream_id)) == "NOT_FOUND"
    caller.sim.finish()


def test_a_stream_that_the_plugin_closes_waits_for_the_peer() -> None:
    caller = Caller()
    stream_id = caller.start_stream()
    caller.tick(lambda call: call("grpc_close", stream_id))
    assert caller.pending.half_closed
    caller.pending.events.message(b"last")
    caller.pending.events.closed(0)
    assert [event[0] for event in caller.seen] == ["message", "close"]
    assert caller.tick(lambda call: status_of(call, "grpc_close", stream_id)) == "NOT_FOUND"


@pytest.mark.parametrize("function", ["grpc_cancel", "grpc_close"])
def test_a_cancelled_call_is_not_heard_of_again(function: str) -> None:
    caller = Caller()
    call_id = caller.start_call()
    call = caller.pending
    caller.tick(lambda host_call: host_call(function, call_id))
    assert call.cancelled
    call.events.message(b"late")
    assert caller.seen == []
    assert caller.tick(lambda host_call: status_of(host_call, function, call_id)) == "NOT_FOUND"
    caller.sim.finish()


def test_refusals() -> None:
    caller = Caller()
    caller.sim.gateway.clusters["empty"] = type(caller.sim.gateway.clusters["llm"])("empty")
    calls: list[tuple[str, str, tuple[Any, ...]]] = [
        ("PARSE_FAILURE", "grpc_call", (b"nobody", *NAMES, [], b"", 0)),
        ("INTERNAL_FAILURE", "grpc_stream", (b"empty", *NAMES, [])),
        ("BAD_ARGUMENT", "grpc_send", (5, b"", 0)),
        ("NOT_FOUND", "grpc_send", (6, b"", 0)),
        ("BAD_ARGUMENT", "grpc_close", (4,)),
        ("NOT_FOUND", "grpc_cancel", (9,)),
    ]
    for expected, name, arguments in calls:
        assert caller.tick(lambda call: status_of(call, name, *arguments)) == expected, name  # noqa: B023


def test_a_script_answers() -> None:
    """Responses that arrive during a VM call are delivered after it."""
    order: list[str] = []

    def script(call: Any) -> None:
        order.append("asked")
        call.events.message(b"at once")

    caller = Caller(grpc=ScriptedGrpc(script))
    caller.start_call()
    assert caller.result == 5  # the call had returned its id before the reply came
    assert (order, caller.seen) == (["asked"], [("message", 5, b"at once")])
    caller.sim.finish()
