"""Whole requests in virtual time: what happens, and when."""

from typing import Any

import pytest

from host_sim import Endpoint, LeftoverError, SimulatorError
from host_sim.abi import ABI_HIGRESS
from host_sim.clock import ManualScheduler
from host_sim.upstream import ResponseHeaders, ResponseTrailers
from host_sim.virtual import AFTER_REQUEST, Client, Recording, UpstreamFault, VirtualSimulator, answer
from tests.host_sim.guests import CLUSTERS, ScriptedGuest

FIRST, SECOND = CLUSTERS["llm"]
OK = [(b":status", b"200")]
PAUSE_ALL = 3


def simulator(upstream=None, callbacks=None, **options):
    options |= {"upstream": upstream} if upstream is not None else {}
    return VirtualSimulator(
        lambda target, host, environment: ScriptedGuest(callbacks or {}, ABI_HIGRESS, host),
        clusters=CLUSTERS,
        **options,
    )


def ended(sim, request):
    """(status, ms) at the end of a request that was sent at 0."""
    sim.run(lambda: request.ended)
    return request.exchange().status, sim.now_ms


def test_an_answer_comes_when_the_script_says():
    sim = simulator(lambda request: answer(200, b"a", b"b", first_ms=200.0, between_ms=30.0))
    request = sim.send(Client())
    assert ended(sim, request) == (200, 230.0)
    assert request.exchange().chunks == [b"a", b"b"]


def test_the_upstream_sees_the_request_as_it_comes():
    seen: list[Any] = []

    def upstream(request):
        seen.append((sim.now_ms, request.method, request.path, request.address, request.body))
        yield AFTER_REQUEST
        seen.append((sim.now_ms, request.body))
        yield ResponseHeaders(OK, True)

    sim = simulator(upstream)
    request = sim.send(Client("POST", "/v1", body=(5.0, b"a", 10.0, b"b", b"c"), trailers={"x-t": "1"}))
    assert ended(sim, request) == (200, 15.0)
    assert seen == [(0.0, "POST", "/v1", FIRST, b""), (15.0, b"abc")]
    assert request.stream.upstream.trailers is not None


def test_a_delay_after_the_last_chunk_ends_the_request_later():
    sim = simulator()
    assert ended(sim, sim.send(Client("POST", body=(b"a", 7.0)))) == (200, 7.0)


def test_a_server_may_answer_before_the_request_has_ended():
    sim = simulator(lambda request: [1.0, ResponseHeaders([(b":status", b"413")], True)])
    assert ended(sim, sim.send(Client("POST", body=(b"a", 1000.0, b"b")))) == (413, 1.0)


def test_trailers():
    sim = simulator(lambda request: [ResponseHeaders(OK), b"x", ResponseTrailers([(b"x-t", b"1")])])
    seen = sim.request(method="GET")
    assert (seen.body, seen.trailers) == (b"x", [("x-t", "1")])


def test_a_server_that_cannot_be_reached():
    sim = simulator(lambda request: [3.0, UpstreamFault.CONNECT])
    request = sim.send(Client())
    assert ended(sim, request) == (503, 3.0)
    assert request.failure is UpstreamFault.CONNECT
    assert "connection failure" in request.exchange().body.decode()


def test_a_response_that_breaks_off():
    sim = simulator(lambda request: [ResponseHeaders(OK), b"a", 4.0, UpstreamFault.RESET, b"never"])
    request = sim.send(Client())
    assert ended(sim, request) == (200, 4.0)
    seen = request.exchange()
    assert seen.body == b"a"
    assert "upstream_failed" in seen.reset_reason


def test_the_route_gives_up_on_a_server_that_never_answers():
    sim = simulator(lambda request: [AFTER_REQUEST, 1e9], route_timeout_ms=15_000)
    assert ended(sim, sim.send(Client("POST", body=(b"a", 100.0, b"b")))) == (504, 15_100.0)


@pytest.mark.parametrize(
    ("client", "left_ms", "body"),
    [
        (Client(gives_up_ms=50.0), 50.0, b""),
        (Client(gives_up_ms=130.0), 130.0, b"a"),
        (Client(leaves="response"), 100.0, b""),
        (Client("POST", body=(b"a", 40.0, b"b"), gives_up_ms=20.0), 20.0, b""),
    ],
    ids=["waiting", "streaming", "headers", "sending"],
)
def test_a_client_goes_away(client, left_ms, body):
    sim = simulator(lambda request: answer(200, b"a", b"b", first_ms=100.0, between_ms=50.0))
    request = sim.send(client)
    sim.run(lambda: request.ended)
    seen = request.exchange()
    assert (sim.now_ms, seen.body, seen.reset_reason) == (left_ms, body, "the client went away")
    assert request.client_left
    sim.advance(1000)
    assert request.exchange() == seen


def test_a_client_that_gives_up_too_late_has_its_answer():
    sim = simulator(lambda request: answer(200, first_ms=10.0))
    request = sim.send(Client(gives_up_ms=11.0))
    assert ended(sim, request) == (200, 10.0)
    sim.advance(10)
    assert not request.client_left


def test_a_client_leaves_a_paused_request_and_the_plugin_must_live_with_it():
    sim = simulator(callbacks={"request_headers": lambda *arguments: PAUSE_ALL})
    request = sim.send(Client("POST", body=(b"a",), leaves="paused"))
    assert request.ended
    assert request.exchange().upstream_headers is None
    sim.finish()


def test_requests_overlap_and_each_has_its_own_time():
    delays = iter([30.0, 10.0, 20.0])
    order: list[tuple[int, float]] = []
    sim = simulator(lambda request: answer(200, first_ms=next(delays)))
    for number in range(3):
        sim.send(Client(), lambda request, number=number: order.append((number, sim.now_ms)))
    sim.run()
    assert order == [(1, 10.0), (2, 20.0), (0, 30.0)]
    assert not sim.open_requests


def test_what_never_ends_is_an_error_that_says_what_is_open():
    sim = simulator(callbacks={"request_headers": lambda *arguments: PAUSE_ALL})
    sim.send(Client())
    with pytest.raises(SimulatorError, match=r"nothing ends.*\n.*request <stream"):
        sim.run()


def call_out(timeout_ms):
    """A plugin that holds a request for a callout and answers with what came of it."""
    streams: list[int] = []
    pairs = [(b":method", b"GET"), (b":path", b"/"), (b":authority", b"x")]

    def request_headers(call, stream, *arguments):
        streams.append(stream)
        call("http_call", b"llm", pairs, b"", [], timeout_ms)
        return PAUSE_ALL

    def http_call_response(call, root, call_id, headers, body, trailers):
        call("set_effective_context", streams.pop())
        text = call("get_buffer_bytes", 4, 0, body) if headers else b"failed"
        call("send_local_response", 200, b"", text, [], -1)

    return {"request_headers": request_headers, "http_call_response": http_call_response}


@pytest.mark.parametrize(
    ("steps", "body", "at_ms"),
    [
        (answer(200, b"a", b"b", first_ms=7.0), b"ab", 7.0),
        ([5.0, UpstreamFault.CONNECT], None, 5.0),
        ([1e9], None, 100.0),
        ([ResponseHeaders(OK), b"x", ResponseTrailers([])], b"x", 0.0),
    ],
    ids=["answer", "failure", "timeout", "trailers"],
)
def test_callouts_take_their_time_too(steps, body, at_ms):
    """What the plugin is told of a callout that failed is not the matter here."""
    sim = simulator(lambda request: steps, call_out(100))
    request = sim.send(Client())
    assert ended(sim, request) == (200, at_ms)
    assert body is None or request.exchange().body == body
    sim.finish()


def test_a_callout_without_an_endpoint_fails():
    sim = simulator(None, call_out(0))
    sim.gateway.clusters["llm"].endpoints = [Endpoint("10.0.0.1:80", "Unhealthy")]
    assert sim.request().body


def test_finish_waits_for_callouts_and_complains_about_those_that_never_end():
    def start_call(call, *arguments):
        call("http_call", b"llm", [(b":method", b"GET"), (b":path", b"/"), (b":authority", b"x")], b"", [], 0)
        return 0

    sim = simulator(lambda request: answer(200, first_ms=20.0), {"request_headers": start_call})
    sim.request()
    sim.finish()
    assert sim.now_ms == 20.0
    sim = simulator(lambda request: [1e9], {"request_headers": start_call})
    sim.send(Client(gives_up_ms=1.0))
    with pytest.raises(LeftoverError, match="1 calls are still pending"):
        sim.finish()


def test_a_script_with_a_step_that_is_none_is_an_error_of_the_test():
    with pytest.raises(TypeError, match="no step"):
        simulator(lambda request: [5]).request()


def test_ticks_and_time_of_the_plugin_follow_the_same_clock():
    ticks: list[int] = []

    def configure(call, *arguments):
        call("set_tick_period_milliseconds", 250)
        return 1

    callbacks = {"configure": configure, "tick": lambda call, root: ticks.append(call("get_current_time_nanoseconds"))}
    sim = simulator(lambda request: answer(200, first_ms=1000.5), callbacks)
    start_ns = sim.scheduler.realtime_ns()
    sim.request()
    assert [(tick - start_ns) // 1_000_000 for tick in ticks] == [250, 500, 750, 1000]


def test_recordings_are_equal_exactly_if_what_the_guest_saw_is():
    def digest(seed, delay_ms=1.0):
        def request_headers(call, *arguments):
            call("get_current_time_nanoseconds")
            call("set_property", b"drawn", environments[-1].random_bytes(1))
            return 0

        def factory(target, host, environment):
            environments.append(environment)
            return ScriptedGuest({"request_headers": request_headers, "done": lambda *a: 1}, ABI_HIGRESS, host)

        environments: list[Any] = []
        recording = Recording(factory)
        sim = VirtualSimulator(recording, clusters=CLUSTERS, seed=seed)
        for _ in range(20):
            sim.advance(delay_ms)
            sim.send(Client())
        sim.run()
        assert recording.crossings >= 100
        return recording.digest

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)
    assert digest(1) != digest(1, 1.5)


def test_a_recording_sees_refused_host_calls():
    def refused(name):
        def request_headers(call, *arguments):
            with pytest.raises(Exception, match="NOT_FOUND"):
                call("get_property", name)
            return 0

        recording = Recording(lambda *a: ScriptedGuest({"request_headers": request_headers}, ABI_HIGRESS, a[1]))
        VirtualSimulator(recording, clusters=CLUSTERS).request()
        return recording.digest

    assert refused(b"one") == refused(b"one")
    assert refused(b"one") != refused(b"two")


def test_the_clock_may_be_shared_with_others():
    scheduler = ManualScheduler()
    scheduler.advance(500)
    sim = simulator(lambda request: answer(200, first_ms=5.0), scheduler=scheduler)
    sim.request()
    assert sim.now_ms == 505.0


def test_it_may_be_finished_within_its_context():
    closes: list[int] = []

    class Guest(ScriptedGuest):
        def close(self):
            closes.append(1)

    with VirtualSimulator(lambda *a: Guest({}, ABI_HIGRESS, a[1]), clusters=CLUSTERS) as sim:
        sim.request()
        sim.finish()
    assert closes == [1]


def test_how_long_a_request_was_held():
    sim = simulator(lambda request: answer(200, b"x", first_ms=20.0), call_out(0) | {"http_call_response": go_on})
    request = sim.send(Client())
    held_at_first = request.held_ms
    sim.run()
    assert (held_at_first, request.held_ms) == (None, 20.0)
    assert sim.now_ms == 40.0


def go_on(call, root, *arguments):
    call("set_effective_context", root + 1)
    call("continue_stream", 0)


def test_several_workers_share_the_clock():
    sim = simulator(lambda request: answer(200, first_ms=5.0), workers=2)
    requests = [sim.send(Client(), worker=number % 2) for number in range(6)]
    assert len(sim.open_requests) == 6
    sim.run()
    assert sim.now_ms == 5.0
    assert len({request.stream.vm for request in requests}) == 2
    assert all(request.exchange().status == 200 for request in requests)
    sim.finish()
