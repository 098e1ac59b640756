"""How a stream pauses, continues, answers and ends. The rules quoted are those of the ABI and of Envoy."""

from typing import Any

import pytest

from host_sim.errors import UsageError
from host_sim.local_reply import LocalReply
from tests.host_sim.guests import REQUEST, Play, status_of

MAPS = {"request": 0, "request_trailers": 1, "response": 2, "response_trailers": 3}
MARKER_0_2_1 = "proxy_abi_version_0_2_1"


def returns(*results):
    """A callback that returns these values one after the other, then 0."""
    rest = list(results)
    return lambda call, *arguments: rest.pop(0) if rest else 0


def continues(stream_type):
    return lambda call, *arguments: call("continue_stream", stream_type)


def finished(sim, stream: Any):
    """End the stream from the upstream's side, and the plugin."""
    stream.response_headers({":status": "200"})
    sim.finish()


def test_a_request_without_callbacks_passes_through():
    sim = Play().start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST, end_of_stream=False)
    stream.request_body(b"ab", end_of_stream=False)
    stream.request_body(b"cd")
    assert stream.upstream.chunks == [b"ab", b"cd"]
    assert stream.upstream.ended
    stream.response_headers({":status": "200"}, end_of_stream=False)
    stream.response_body(b"ok", end_of_stream=False)
    stream.response_trailers({"x-t": "1"})
    assert stream.downstream.body == b"ok"
    assert stream.downstream.trailers.text_pairs() == [("x-t", "1")]
    assert stream.closed
    sim.finish()


@pytest.mark.parametrize(
    ("target", "marker", "options", "action", "body_callbacks"),
    [
        ("envoy", MARKER_0_2_1, {}, 1, 0),
        ("higress", MARKER_0_2_1, {}, 1, 0),
        ("envoy", MARKER_0_2_1, {"allow_on_headers_stop_iteration": True}, 1, 1),
        ("higress", "proxy_abi_version_0_2_100", {}, 1, 1),
        ("higress", "proxy_abi_version_0_2_100", {}, 3, 0),
        ("higress", "proxy_abi_version_0_2_100", {}, 4, 0),
        ("higress", "proxy_abi_version_0_2_100", {}, 77, 0),
    ],
)
def test_what_a_pause_in_headers_means(target, marker, options, action, body_callbacks):
    """With 0_2_1 a headers return of 1 becomes StopAllIterationAndWatermark (no body callbacks while paused) unless
    allow_on_headers_stop_iteration is set; with 0_2_100 it stays StopIteration; > 4 -> StopAllIterationAndWatermark."""
    play = Play(target, marker, **options).on(
        request_headers=returns(action), request_body=returns(1, 1), tick=continues(0)
    )
    sim = play.start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST, end_of_stream=False)
    stream.request_body(b"ab")
    assert play.guest.order.count("request_body") == body_callbacks
    assert stream.paused
    assert stream.upstream.headers is None


def test_stop_all_delivers_what_waited_after_continue():
    seen: list[Any] = []
    play = Play().on(
        request_headers=returns(4),
        request_body=lambda call, stream, size, end: seen.append((size, end)),
        request_trailers=lambda call, stream, count: seen.append(count),
    )
    sim = play.start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST, end_of_stream=False)
    stream.request_body(b"ab", end_of_stream=False)
    stream.request_body(b"cd", end_of_stream=False)
    stream.request_trailers({"x-t": "1"})
    assert seen == []
    stream.proceed(stream.request)
    assert seen == [(4, 0), 1]
    assert stream.upstream.body == b"abcd"
    assert stream.upstream.trailers.text_pairs() == [("x-t", "1")]
    assert not stream.paused
    finished(sim, stream)


def test_a_stopped_request_without_body_goes_on_and_ends():
    play = Play().on(request_headers=returns(1))
    sim = play.start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST)
    assert stream.paused
    stream.proceed(stream.request)
    assert stream.upstream.ended
    stream.proceed(stream.request)  # nothing is stopped any more: no effect
    finished(sim, stream)


def test_stop_and_buffer_shows_the_whole_body_again():
    bodies = []

    def request_body(call, stream, size, end):
        bodies.append(call("get_buffer_bytes", 0, 0, size))
        return 0 if end else 1

    sim = Play().on(request_headers=returns(1), request_body=request_body).start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST, end_of_stream=False)
    for chunk in (b"a", b"b"):
        stream.request_body(chunk, end_of_stream=False)
    stream.request_body(b"c")
    assert bodies == [b"a", b"ab", b"abc"]
    assert stream.upstream.body == b"abc"
    finished(sim, stream)


def test_what_went_on_is_not_shown_again():
    seen = []

    def request_body(call, stream, size, end):
        seen.append(size)
        return 0 if end else 1

    sim = Play().on(request_body=request_body).start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST, end_of_stream=False)
    stream.request_body(b"abc", end_of_stream=False)
    stream.proceed(stream.request)
    assert stream.upstream.body == b"abc"
    assert stream.request.body is None
    stream.request_body(b"d")
    assert (seen, stream.upstream.body) == ([3, 1], b"abcd")


def test_trailers_that_waited_are_seen_before_they_go_on():
    def request_trailers(call, stream, count):
        call("replace_header_map_value", 1, b"x-t", b"seen")
        return 0

    sim = Play().on(request_headers=returns(4), request_trailers=request_trailers).start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST, end_of_stream=False)
    stream.request_body(b"a", end_of_stream=False)
    stream.request_trailers({"x-t": "1"})
    stream.proceed(stream.request)
    assert stream.upstream.trailers.text_pairs() == [("x-t", "seen")]


@pytest.mark.parametrize(
    ("action", "body", "sizes"),
    [(2, b"abc", [1, 1, 1]), (3, b"c", [1, 1, 1]), (9, b"c", [1, 1, 1]), (1, b"abc", [1, 2, 3])],
)
def test_data_actions(action, body, sizes):
    """StopIterationAndWatermark keeps the data without showing it again; data return > 3 -> StopIterationNoBuffer."""
    seen: list[Any] = []

    def request_body(call, stream, size, end):
        seen.append(size)
        return 0 if end else action

    sim = Play().on(request_body=request_body).start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST, end_of_stream=False)
    stream.request_body(b"a", end_of_stream=False)
    stream.request_body(b"b", end_of_stream=False)
    stream.request_body(b"c")
    assert (stream.upstream.body, seen) == (body, sizes)
    finished(sim, stream)


def test_the_body_can_be_replaced_while_it_is_held():
    def request_body(call, stream, size, end):
        if end:
            call("set_buffer_bytes", 0, 0, size, b"new")
            call("set_buffer_bytes", 0, 3, 0, b"!")
        return 0 if end else 1

    sim = Play().on(request_body=request_body).start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST, end_of_stream=False)
    stream.request_body(b"old", end_of_stream=False)
    stream.request_body(b"er")
    assert stream.upstream.body == b"new!"
    finished(sim, stream)


def test_trailers_can_be_held():
    sim = Play().on(request_trailers=returns(1)).start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST, end_of_stream=False)
    stream.request_body(b"a", end_of_stream=False)
    stream.request_trailers({"x": "1"})
    assert not stream.upstream.ended
    stream.proceed(stream.request)
    assert stream.upstream.trailers.text_pairs() == [("x", "1")]
    assert stream.upstream.ended
    finished(sim, stream)


@pytest.mark.parametrize(("limit", "replied"), [(4, 413), (5, 0)])
def test_a_buffered_request_above_the_limit_is_answered(limit, replied):
    sim = Play(buffer_size_max=limit).on(request_headers=returns(4)).start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST, end_of_stream=False)
    stream.request_body(b"12345")
    assert sim.observe(stream).status == replied


def test_the_limit_can_be_set_by_property():
    def request_headers(call, stream, count, end):
        call("set_property", b"set_decoder_buffer_limit", b"5")
        return 4

    sim = Play(buffer_size_max=1).on(request_headers=request_headers).start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST, end_of_stream=False)
    stream.request_body(b"12345")
    assert stream.paused


def test_continue_and_local_reply_take_effect_after_the_callback():
    """continue_stream and local replies take effect after the callback returns."""
    seen: list[Any] = []

    def tick(call, root):
        call("set_effective_context", stream.context_id)
        call("continue_stream", 0)
        seen.append(stream.upstream.headers)

    sim = Play().on(request_headers=returns(4), tick=tick).start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST)
    sim.vm.tick()
    assert seen == [None]
    assert stream.upstream.headers is not None
    finished(sim, stream)


def test_continue_of_other_streams_is_unimplemented():
    """continue_stream(UPSTREAM) = UNIMPLEMENTED."""
    seen: list[Any] = []

    def request_headers(call, *arguments):
        seen.extend(status_of(call, "continue_stream", stream_type) for stream_type in (2, 3, 9))
        return 0

    sim = Play().on(
        request_headers=request_headers, tick=lambda call, root: seen.append(status_of(call, "continue_stream", 0))
    )
    sim = sim.start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST)
    sim.vm.tick()
    assert seen == ["OK", "UNIMPLEMENTED", "BAD_ARGUMENT", "OK"]  # in a context without such a stream it does nothing
    finished(sim, stream)


def reply_with(code, action=0):
    def callback(call, *arguments):
        call("send_local_response", code, b"why", b"body", [(b"X-A", b"1")], -1)
        return action

    return callback


@pytest.mark.parametrize("action", [0, 1])
def test_a_local_reply_stops_the_request_whatever_is_returned(action):
    """After a local reply any returned action stops the stream; the reply passes the response callbacks."""
    sim_play = Play().on(request_headers=reply_with(429, action), response_headers=returns(0), response_body=returns(0))
    sim = sim_play.start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST, end_of_stream=False)
    stream.request_body(b"late")
    seen = sim.observe(stream)
    assert (seen.status, seen.body, seen.upstream_headers) == (429, b"body", None)
    assert seen.header("x-a") == "1"
    assert seen.local_reply == LocalReply(429, "why", b"body", ((b"x-a", b"1"),), by_filter=True)
    assert sim_play.guest.order == ["request_headers", "response_headers", "response_body"]
    assert stream.closed
    sim.finish()


def test_the_plugins_headers_replace_those_of_a_local_reply():
    def request_headers(call, *arguments):
        call("send_local_response", 403, b"", b"{}", [(b"Content-Type", b"application/json")], -1)
        return 0

    sim = Play().on(request_headers=request_headers).start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST)
    assert stream.downstream.headers.text_pairs() == [
        (":status", "403"),
        ("content-length", "2"),
        ("content-type", "application/json"),
    ]


def test_a_second_local_reply_is_ignored():
    def request_headers(call, *arguments):
        reply_with(429)(call)
        reply_with(500)(call)
        return 0

    sim = Play().on(request_headers=request_headers, response_headers=reply_with(501)).start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST)
    assert sim.observe(stream).status == 429
    sim.finish()


def test_a_local_reply_replaces_the_response_until_it_has_begun():
    sim = Play().on(response_headers=reply_with(502)).start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST)
    stream.response_headers({":status": "200"}, end_of_stream=False)
    stream.response_body(b"late")
    assert (sim.observe(stream).status, sim.observe(stream).body) == (502, b"body")
    sim.finish()


def test_a_local_reply_in_a_begun_response_resets_it():
    sim = Play().on(response_body=reply_with(502)).start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST)
    stream.response_headers({":status": "200"}, end_of_stream=False)
    stream.response_body(b"late")
    seen = sim.observe(stream)
    assert (seen.status, seen.body, seen.local_reply) == (200, b"", None)
    assert "after the response began" in seen.reset_reason
    sim.finish()


def test_close_stream_resets():
    sim = Play().on(request_headers=lambda call, *arguments: call("close_stream", 0) or 0).start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST)
    assert stream.reset_reason == "closed by the plugin"
    sim.finish()


def test_maps_are_open_from_their_callback_until_they_are_continued():
    """Afterwards they are BAD_ARGUMENT, for reading too. In on_log all that came is readable but the
    request's trailers. Higress lets the request's headers be read until the end."""
    seen: dict[str, str] = {}

    def probe(phase):
        def callback(call, *arguments):
            allowed = "".join(
                status_of(call, "replace_header_map_value", map_type, b"x", b"1")[0]
                + status_of(call, "get_header_map_value", map_type, b"x")[0]
                for map_type in MAPS.values()
            )
            seen.setdefault(phase, allowed)  # on_log comes for the root context too, later
            return 0

        return callback

    phases = ("request_headers", "request_body", "request_trailers", "response_headers", "response_body", "log", "tick")
    sim = Play("envoy", MARKER_0_2_1).on(**{phase: probe(phase) for phase in phases}).start()
    stream = sim.open_stream()
    sim.vm.tick()
    stream.request_headers(REQUEST, end_of_stream=False)
    stream.request_body(b"a", end_of_stream=False)
    stream.request_trailers({"t": "1"})
    stream.response_headers({":status": "200"}, end_of_stream=False)
    stream.response_body(b"a", end_of_stream=False)
    stream.response_trailers({"t": "1"})
    sim.finish()
    # per map (request headers, request trailers, response headers, response trailers): writing, reading
    assert seen == {
        "tick": "BBBBBBBB",
        "request_headers": "OOBBBBBB",
        "request_body": "BBBBBBBB",
        "request_trailers": "BBOOBBBB",
        "response_headers": "BBBBOOBB",
        "response_body": "BBBBBBBB",
        "log": "BOBNBOBN",
    }


def test_the_end_is_log_done_delete_and_a_late_reply_has_no_context():
    """The order of Envoy 1.40; the specification has done before log."""
    play = Play().on(
        context_create=returns(), done=returns(0), log=returns(), delete=returns(), request_headers=returns(1)
    )
    sim = play.start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST)
    stream.abort()
    assert play.guest.order[-4:] == ["request_headers", "log", "done", "delete"]
    stream.abort()
    assert play.guest.order.count("delete") == 1
    assert stream.context_id not in sim.vm.contexts


def test_a_root_that_is_not_done_waits_for_proxy_done():
    deleted_within = []

    def tick(call, root):
        call("done")
        deleted_within.append("delete" in play.guest.order)

    play = Play().on(done=returns(0), delete=returns(), tick=tick)
    sim = play.start()
    sim.vm.finish()
    assert "delete" not in play.guest.order
    sim.vm.tick()
    assert play.guest.order[-1] == "delete"
    assert deleted_within == [False]
    assert not sim.vm.contexts


def test_the_driver_must_keep_the_order_of_http():
    sim = Play().start()
    stream = sim.open_stream()
    with pytest.raises(UsageError, match="before the headers"):
        stream.request_body(b"a")
    stream.request_headers(REQUEST)
    with pytest.raises(UsageError, match="came already"):
        stream.request_headers(REQUEST)
    with pytest.raises(UsageError, match="after the end"):
        stream.request_body(b"a")


def test_upstream_failures_are_answered_with_503():
    sim = Play().start()
    stream = sim.open_stream()
    stream.request_headers(REQUEST)
    stream.upstream_failed(503, "upstream_failed", "gone")
    assert (sim.observe(stream).status, sim.observe(stream).body) == (503, b"gone")
    sim.finish()
