"""Rules 13 to 15 of the semantics: the end of a stream, the VMs of a gateway, traps; and several plugins in a chain."""

from typing import Any

import pytest

from host_sim import GuestTrap, LeftoverError, LoadError, Plugin
from host_sim.abi import ABI_HIGRESS
from tests.host_sim.guests import REQUEST, Play, ScriptedGuest

MARKER = "proxy_abi_version_0_2_1"


def trap(call: Any, *arguments: int) -> int:
    raise GuestTrap("unreachable")


def trap_on(path: bytes) -> Any:
    def request_headers(call: Any, *arguments: int) -> int:
        if call("get_header_map_value", 0, b":path") == path:
            raise GuestTrap("unreachable")
        return 0

    return request_headers


def status(sim: Any, path: str = "/", stream: Any = None) -> int:
    stream = stream or sim.open_stream()
    stream.request_headers({**REQUEST, ":path": path})
    if not stream.closed:
        stream.response_headers({":status": "200"})
    found: int = sim.observe(stream).status
    return found


# 13


def test_a_reply_for_a_deleted_context_is_dropped() -> None:
    """A reply for a deleted context is dropped: its effective context is refused, and the root's stays."""
    seen: list[object] = []
    pairs = [(b":method", b"GET"), (b":path", b"/"), (b":authority", b"x")]

    def request_headers(call: Any, stream: int, *arguments: int) -> int:
        call("http_call", b"llm", pairs, b"", [], 0)
        return 4

    def http_call_response(call: Any, root: int, *arguments: int) -> None:
        try:
            call("set_effective_context", 2)
        except Exception as error:
            seen.append(str(error).partition(":")[0])
        call("continue_stream", 0)

    sim = Play().on(request_headers=request_headers, http_call_response=http_call_response).start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST)
    stream.abort()
    sim.deliver_http(None)
    assert seen == ["BAD_ARGUMENT"]
    assert stream.upstream.headers is None
    sim.finish()


def test_a_root_is_done_then_deleted_without_log() -> None:
    """done, then delete, or delete when proxy_done is called: Envoy has no on_log for roots."""
    play = Play().on(done=lambda call, context: 1, log=lambda *a: None, delete=lambda *a: None)
    play.start().finish()
    assert play.guest.order == ["done", "delete"]


# 14


class Clones:
    """A gateway with two workers; what each VM was asked, by the number of the VM in the order in which they came."""

    def __init__(self, **callbacks: Any) -> None:
        self.vms: list[list[str]] = []
        self.play = Play("envoy", MARKER, workers=2).on(**callbacks)

        def factory(target: Any, host: Any, environment: Any) -> ScriptedGuest:
            guest = ScriptedGuest(self.play.callbacks, MARKER, host)
            self.vms.append(guest.order)
            return guest

        self.play.factory = factory
        self.sim = self.play.start()


def test_the_vms_of_a_gateway() -> None:
    """Envoy makes one base VM (only `_initialize`), a canary clone, a main-thread clone and one clone per worker; each
    clone runs `_initialize`, on_vm_start, on_configure; ticks fire on the main-thread clone too."""

    def configure(call: Any, *arguments: int) -> int:
        call("set_tick_period_milliseconds", 100)
        return 1

    clones = Clones(context_create=lambda *a: None, vm_start=lambda *a: 1, configure=configure, tick=lambda *a: None)
    started = ["context_create", "vm_start", "configure"]
    assert clones.vms == [[], started, started, started, started]
    clones.sim.advance(200)
    ticks = ["tick", "tick"]
    assert clones.vms == [[], started, started + ticks, started + ticks, started + ticks]
    clones.sim.finish()


def test_a_worker_serves_its_streams_in_its_own_vm() -> None:
    """All module state is per VM."""
    clones = Clones(request_headers=lambda *a: 0)
    for worker in (1, 1, 0):
        status(clones.sim, stream=clones.sim.open_stream(worker))
    asked = [order.count("request_headers") for order in clones.vms]
    assert asked == [0, 0, 0, 1, 2]
    clones.sim.finish()


def test_a_plugin_that_the_canary_refuses_makes_no_other_vm() -> None:
    with pytest.raises(LoadError, match="proxy_on_configure"):
        Clones(configure=lambda *a: 0)


def test_shared_data_is_seen_by_all_workers_and_a_queue_tells_the_last_who_registered() -> None:
    def configure(call: Any, *arguments: int) -> int:
        call("register_shared_queue", b"q")
        return 1

    def request_headers(call: Any, *arguments: int) -> int:
        call("enqueue_shared_queue", call("resolve_shared_queue", b"", b"q"), b"x")
        return 0

    clones = Clones(configure=configure, request_headers=request_headers, queue_ready=lambda *a: None)
    status(clones.sim)
    assert [order.count("queue_ready") for order in clones.vms] == [0, 0, 0, 0, 1]


def test_leftovers_of_every_worker_are_told() -> None:
    clones = Clones(request_headers=lambda *a: 4)
    clones.sim.open_stream(1).request_headers(REQUEST)
    with pytest.raises(LeftoverError, match=r"worker_1: .*stopped"):
        clones.sim.finish()


# 15


def test_fail_closed_answers_503_for_ever() -> None:
    """A trap kills that VM: default policy then answers 503 for ever."""
    sim = Play("envoy", MARKER).on(request_headers=trap_on(b"/trap")).start()
    assert [status(sim, path) for path in ("/", "/trap", "/")] == [200, 503, 503]
    sim.advance(100_000)
    assert status(sim) == 503


def test_fail_open_bypasses() -> None:
    """FAIL_OPEN bypasses: streams that begin later; the one that trapped gets 503, as seen on Envoy 1.40."""
    play = Play("envoy", MARKER, plugin_options={"failure_policy": "FAIL_OPEN"}).on(request_headers=trap_on(b"/trap"))
    sim = play.start()
    assert [status(sim, path) for path in ("/", "/trap", "/")] == [200, 503, 200]
    assert play.guest.order.count("request_headers") == 2


def test_fail_reload_recreates_after_a_backoff() -> None:
    """FAIL_RELOAD recreates after a backoff, which is counted from the last start."""
    options = {"failure_policy": "FAIL_RELOAD", "reload_backoff_ms": 1000}
    sim = Play("envoy", MARKER, plugin_options=options).on(request_headers=trap_on(b"/trap")).start()
    assert status(sim, "/trap") == 503
    sim.advance(999)
    assert status(sim) == 503
    sim.advance(1)
    assert [status(sim, path) for path in ("/", "/trap", "/")] == [200, 503, 503]
    sim.advance(1000)
    assert status(sim) == 200
    sim.finish()


def test_a_reload_that_fails_is_tried_again() -> None:
    accepts = [1, 0, 1]
    play = Play("envoy", MARKER, plugin_options={"failure_policy": "FAIL_RELOAD"})
    sim = play.on(request_headers=trap_on(b"/trap"), configure=lambda *a: accepts.pop(0)).start()
    sim.advance(1000)
    assert [status(sim, path) for path in ("/trap", "/", "/")] == [503, 503, 503]
    assert "the plugin cannot be reloaded" in sim.gateway.logs[-1].message
    assert accepts == [1]
    sim.advance(1000)
    assert status(sim) == 200


def test_higress_recovers_at_once_and_then_every_five_seconds() -> None:
    sim = Play().on(request_headers=trap_on(b"/trap")).start()
    assert [status(sim, path) for path in ("/trap", "/", "/trap", "/")] == [503, 200, 503, 503]
    sim.advance(5000)
    assert status(sim) == 200


def test_higress_makes_a_new_vm_for_a_plugin_that_asks_for_it() -> None:
    """Special keys: `wasm_need_rebuild`. The streams of the old VM end on it."""

    def request_headers(call: Any, *arguments: int) -> int:
        call("set_property", b"wasm_need_rebuild", b"true")
        return 4

    sim = Play().on(request_headers=request_headers, done=lambda *a: 1, delete=lambda *a: None).start()
    first = sim.open_stream()
    first.request_headers(REQUEST)
    old = sim.vm
    second = sim.open_stream()
    assert sim.vm is not old
    assert second.vm is sim.vm
    first.abort()
    sim.open_stream()
    assert not old.contexts
    sim.finish()


def test_streams_that_wait_are_not_told_of_a_trap() -> None:
    """As on Envoy: they fail at their next event, or wait until the client goes away."""
    play = Play("envoy", MARKER).on(request_headers=lambda call, *a: 4, tick=trap, log=lambda *a: None)
    sim = play.start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST, end_of_stream=False)
    sim.vm.tick()
    assert stream.paused
    stream.abort()
    assert "log" not in play.guest.order
    other = sim.open_stream()
    other.request_headers(REQUEST)
    assert sim.observe(other).status == 503
    sim.finish()


def test_a_trap_in_the_response_answers_503_or_resets() -> None:
    for phase, expected in (("response_headers", (503, "")), ("response_body", (200, "a local reply after"))):
        sim = Play("envoy", MARKER).on(**{phase: trap}).start()
        stream = sim.open_stream()
        stream.request_headers(REQUEST)
        stream.response_headers({":status": "200"}, end_of_stream=False)
        stream.response_body(b"x")
        seen = sim.observe(stream)
        assert (seen.status, seen.reset_reason[:19]) == expected


# Several plugins in one chain


class Chain:
    """Plugins a, b and c; `said` is who ran what."""

    def __init__(self, b: dict[str, Any]) -> None:
        self.said: list[str] = []
        guests = {name: self._guest(name, b if name == "b" else {}) for name in "abc"}
        play = Play("envoy", MARKER, chain=[Plugin(name=name, guest=guests[name]) for name in "bc"])
        play.factory = guests["a"]
        self.sim = play.start()
        self.stream = self.sim.open_stream()

    def _guest(self, name: str, own: dict[str, Any]) -> Any:
        def note(export: str) -> Any:
            def callback(call: Any, *arguments: int) -> Any:
                self.said.append(f"{name} {export}")
                return own[export](call, *arguments) if export in own else 0

            return callback

        exports = ("request_headers", "request_body", "request_trailers", "response_headers", "response_body", "log")
        callbacks = {export: note(export) for export in (*exports, *own)}

        def factory(target: Any, host: Any, environment: Any) -> ScriptedGuest:
            return ScriptedGuest(callbacks, MARKER, host)

        return factory


def test_a_request_passes_the_plugins_in_order_and_the_response_in_reverse() -> None:
    chain = Chain({})
    chain.stream.request_headers(REQUEST, end_of_stream=False)
    chain.stream.request_body(b"x", end_of_stream=False)
    chain.stream.request_trailers({"t": "1"})
    chain.stream.response_headers({":status": "200"}, end_of_stream=False)
    chain.stream.response_body(b"y")
    phases = ("request_headers", "request_body", "request_trailers")
    expected = [f"{name} {phase}" for phase in phases for name in "abc"]
    expected += [f"{name} {phase}" for phase in ("response_headers", "response_body") for name in "cba"]
    assert chain.said == expected + [f"{name} log" for name in "abc"]
    assert (chain.stream.upstream.body, chain.stream.downstream.body) == (b"x", b"y")
    chain.sim.finish()


def test_a_plugin_sees_what_the_one_before_it_changed_and_waits_for_it() -> None:
    def request_headers(call: Any, *arguments: int) -> int:
        call("replace_header_map_value", 0, b"x-b", b"1")
        call("set_property", b"from-b", b"2")
        return 4

    chain = Chain({"request_headers": request_headers, "tick": lambda *a: None})
    chain.stream.request_headers(REQUEST)
    assert chain.said == ["a request_headers", "b request_headers"]
    chain.stream.proceed(chain.stream.filters[1].request)
    assert chain.said[-1] == "c request_headers"
    assert chain.stream.upstream.headers.get(b"x-b") == b"1"
    assert chain.stream.properties == {b"from-b": b"2"}
    chain.stream.abort()
    chain.sim.finish()


def test_a_local_reply_passes_the_plugins_that_have_seen_the_request() -> None:
    """The others get a context for on_log only."""

    def request_headers(call: Any, *arguments: int) -> int:
        call("send_local_response", 403, b"", b"no", [], -1)
        return 0

    chain = Chain({"request_headers": request_headers})
    chain.stream.request_headers(REQUEST)
    expected = ["a request_headers", "b request_headers", "b response_headers", "a response_headers"]
    expected += ["b response_body", "a response_body", "a log", "b log", "c log"]
    assert chain.said == expected
    assert chain.sim.observe(chain.stream).status == 403
    chain.sim.finish()


def test_a_plugin_that_fails_closed_ends_the_request_for_all() -> None:
    chain = Chain({"request_headers": trap})
    chain.stream.request_headers(REQUEST)
    assert chain.said == ["a request_headers", "b request_headers", "a response_headers", "a log", "c log"]
    assert chain.sim.observe(chain.stream).status == 503


def test_plugins_of_one_vm_id_and_guest_share_a_vm_with_a_root_context_each() -> None:
    play = Play("envoy", ABI_HIGRESS, chain=[Plugin(b"2", name="b")], plugin_config="1")
    seen: list[tuple[int, bytes]] = []

    def configure(call: Any, root: int, size: int) -> int:
        seen.append((root, call("get_buffer_bytes", 7, 0, size)))
        return 1

    sim = play.on(configure=configure, context_create=lambda call, *a: seen.append(a)).start()
    sim.open_stream().request_headers(REQUEST)
    assert seen == [(1, 0), (1, b"1"), (2, 0), (2, b"2"), (3, 1), (4, 2)]
    assert len(sim.deployment.vms) == 1
