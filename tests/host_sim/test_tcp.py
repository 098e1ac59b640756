"""TCP connections: contexts, data in both directions, closes. As Envoy's network filter treats proxy-wasm plugins."""

from typing import Any

import pytest
from proxywasm.enums import PeerType

from host_sim import GuestTrap, Plugin, UsageError
from tests.host_sim.guests import Play, ScriptedGuest, status_of

MARKER = "proxy_abi_version_0_2_1"
NOTHING: Any = lambda *a: None  # noqa: E731
ENDS = {
    "downstream_connection_close": NOTHING,
    "upstream_connection_close": NOTHING,
    "done": lambda call, context: int(context == 1),
}
ENDS |= {"log": NOTHING, "delete": NOTHING}


def connect(**callbacks: Any) -> Any:
    play = Play("envoy", MARKER).on(**callbacks)
    sim = play.start()
    return play, sim, sim.open_connection()


def test_data_pass_in_both_directions_and_the_end_is_done_log_delete() -> None:
    seen: list[Any] = []

    def data(call: Any, context: int, size: int, end: int) -> int:
        seen.append((size, end))
        return 0

    _, sim, connection = connect(new_connection=lambda *a: 0, downstream_data=data, upstream_data=data, **ENDS)
    connection.downstream_data(b"ask", end_of_stream=True)
    connection.upstream_data(b"ans")
    connection.upstream_data(b"wer", end_of_stream=True)
    assert (connection.to_upstream.data, connection.to_upstream.ended) == (b"ask", True)
    assert (connection.to_downstream.data, connection.to_downstream.ended) == (b"answer", True)
    assert seen == [(3, 1), (3, 0), (3, 1)]
    calls = [(record.name.removeprefix("proxy_on_"), record.arguments) for record in connection.trace.callbacks]
    assert calls[-5:] == [
        ("upstream_connection_close", (PeerType.UNKNOWN,)),
        ("downstream_connection_close", (PeerType.LOCAL,)),
        ("done", ()),
        ("log", ()),
        ("delete", ()),
    ]
    assert connection.closed
    assert connection.endpoint.address == "10.0.0.1:80"
    sim.finish()


@pytest.mark.parametrize("peer", [PeerType.REMOTE, PeerType.LOCAL])
def test_the_client_closes(peer: PeerType) -> None:
    play, sim, connection = connect(**ENDS)
    connection.close_downstream(peer)
    assert connection.trace.callbacks[0].arguments == (peer,)
    assert play.guest.order == ["downstream_connection_close", "done", "log", "delete"]
    connection.close_downstream(peer)
    with pytest.raises(UsageError, match="after the end"):
        connection.downstream_data(b"x")
    sim.finish()


def test_held_data_are_shown_again_as_a_whole_and_can_be_changed() -> None:
    seen: list[bytes] = []

    def downstream_data(call: Any, context: int, size: int, end: int) -> int:
        seen.append(call("get_buffer_bytes", 2, 0, size))
        if size < 3:
            return 1
        call("set_buffer_bytes", 2, 0, 1, b"<")
        call("set_buffer_bytes", 2, 99, 0, b">")
        return 0

    _, _, connection = connect(downstream_data=downstream_data)
    for data in (b"a", b"b", b"c"):
        connection.downstream_data(data)
    assert seen == [b"a", b"ab", b"abc"]
    assert connection.to_upstream.data == b"<bc>"


def test_continue_stream_passes_on_what_the_client_sent() -> None:
    """continue_stream(UPSTREAM) = UNIMPLEMENTED, and takes effect after the callback returns."""
    seen: list[Any] = []

    def tick(call: Any, root: int) -> None:
        call("set_effective_context", connection.context_id)
        seen.append(status_of(call, "continue_stream", 3))
        call("continue_stream", 2)
        seen.append(connection.to_upstream.data)

    _, sim, connection = connect(downstream_data=lambda *a: 1, tick=tick)
    connection.downstream_data(b"held", end_of_stream=True)
    sim.vm.tick()
    assert seen == ["UNIMPLEMENTED", b""]
    assert (connection.to_upstream.data, connection.to_upstream.ended) == (b"held", True)


def test_data_from_the_upstream_can_be_held_until_more_comes() -> None:
    _, _, connection = connect(upstream_data=lambda call, context, size, end: int(size < 4))
    connection.upstream_data(b"ab")
    assert connection.to_downstream.chunks == []
    connection.upstream_data(b"cd")
    assert connection.to_downstream.chunks == [b"abcd"]


@pytest.mark.parametrize(("stream_type", "reason"), [(2, "wasm_downstream_close"), (3, "wasm_upstream_close")])
def test_close_stream(stream_type: int, reason: str) -> None:
    play, sim, connection = connect(new_connection=lambda call, context: call("close_stream", stream_type) or 0, **ENDS)
    assert (connection.closed, connection.close_reason) == (True, reason)
    assert play.guest.order[1:] == ["downstream_connection_close", "done", "log", "delete"]
    sim.finish()


def test_properties_and_buffers_of_a_connection() -> None:
    seen: list[Any] = []

    def new_connection(call: Any, context: int) -> int:
        call("set_property", b"a", b"1")
        seen.extend([call("get_property", b"a"), call("get_buffer_bytes", 3, 0, 9), call("get_buffer_bytes", 0, 0, 9)])
        return 0

    connect(new_connection=new_connection)
    assert seen == [b"1", b"", b""]


def test_plugins_in_a_chain() -> None:
    said: list[str] = []

    def guest(name: str, new_connection: int) -> Any:
        def note(export: str, result: int) -> Any:
            def callback(call: Any, *arguments: int) -> int:
                said.append(f"{name} {export}")
                return result

            return callback

        callbacks = {"new_connection": note("new", new_connection)}
        callbacks |= {"downstream_data": note("down", 0), "upstream_data": note("up", 0)}
        return lambda target, host, environment: ScriptedGuest(callbacks, MARKER, host)

    play = Play("envoy", MARKER, chain=[Plugin(name="b", guest=guest("b", 0))])
    play.factory = guest("a", 1)  # holds back the connection: b hears of it with the first data
    connection = play.start().open_connection()
    assert said == ["a new"]
    connection.downstream_data(b"x")
    connection.upstream_data(b"y")
    assert said[1:] == ["a down", "b new", "b down", "b up", "a up"]
    assert (connection.to_upstream.data, connection.to_downstream.data) == (b"x", b"y")


def test_a_connection_that_was_held_back_goes_on_without_data() -> None:
    def tick(call: Any, root: int) -> None:
        call("set_effective_context", connection.context_id)
        call("continue_stream", 2)

    _, sim, connection = connect(new_connection=lambda *a: 1, tick=tick)
    assert not connection.endpoint
    sim.vm.tick()
    assert connection.endpoint.address == "10.0.0.1:80"


def test_a_trap_closes_the_connection() -> None:
    def trap(*arguments: Any) -> int:
        raise GuestTrap("unreachable")

    _, _, connection = connect(downstream_data=trap)
    connection.downstream_data(b"x")
    assert (connection.closed, connection.close_reason) == (True, "the VM is dead")
    assert connection.to_upstream.data == b""


def test_without_an_endpoint_the_connection_is_closed() -> None:
    play = Play("envoy", MARKER)
    play.options["clusters"] = {"llm": []}
    assert play.start().open_connection().close_reason == "no healthy upstream"
