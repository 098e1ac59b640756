"""Whole requests in real time, on scripted and real peers."""

import asyncio
import json

import aiohttp
import pytest

import host_sim
from host_sim import (
    EmbeddedRedis,
    Endpoint,
    HostCallError,
    HttpUpstream,
    LeftoverError,
    ModelServer,
    ScriptedRedis,
    ScriptedResponse,
    ScriptedUpstream,
    Simulator,
    SimulatorError,
    SteppedRedis,
    UpstreamFailed,
)
from host_sim.abi import ABI_HIGRESS
from tests.host_sim.guests import CLUSTERS, ScriptedGuest

FIRST, SECOND = CLUSTERS["llm"]
GONE = -1


def guest(**callbacks):
    return lambda target, host, environment: ScriptedGuest(callbacks, ABI_HIGRESS, host)


class Counting:
    """A plugin that asks Redis before a request goes on, and counts down at its end."""

    def __init__(self):
        self.waiting = {}

    def configure(self, call, root, size):
        call("redis_init", b"redis?buffer_flush_timeout=0&max_buffer_size_before_flush=0", b"", b"", 2000)
        return 1

    def request_headers(self, call, stream, *arguments):
        call_id = call("redis_call", b"redis", b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n")
        self.waiting[call_id] = stream
        return 4

    def redis_call_response(self, call, root, call_id, status, size):
        stream = self.waiting.pop(call_id)
        try:
            call("set_effective_context", stream)
        except host_sim.HostCallError:
            if stream != GONE:  # the late reply of a stream that has ended: undo what it counted
                self.waiting[call("redis_call", b"redis", b"*2\r\n$4\r\nDECR\r\n$1\r\nn\r\n")] = GONE
            return
        call("set_upstream_override_host", SECOND.encode())
        call("continue_stream", 0)

    def factory(self):
        return guest(
            configure=self.configure, request_headers=self.request_headers, redis_call_response=self.redis_call_response
        )


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


async def play(sim_options, **request):
    async with Simulator(clusters=CLUSTERS, **sim_options) as sim:
        exchange = await sim.request(**request)
        await sim.finish()
        return exchange


def test_a_scripted_upstream_gets_the_request_and_answers():
    def script(request):
        assert (request.method, request.path, request.body) == ("POST", "/v1", b"abc")
        assert request.headers.get(b"x-a") == b"1"
        return ScriptedResponse(201, {"x-b": "2"}, (b"d", b"e"), {"x-t": "3"})

    options = {"guest": guest(), "upstream": ScriptedUpstream(script)}
    seen = run(play(options, method="POST", path="/v1", headers={"X-A": "1"}, body=[b"a", b"bc"]))
    assert (seen.status, seen.chunks, seen.endpoint) == (201, [b"d", b"e"], FIRST)
    assert (seen.header("X-B"), seen.trailers) == ("2", [("x-t", "3")])


def test_an_async_body_and_trailers():
    async def body():
        for chunk in (b"a", b"b"):
            await asyncio.sleep(0)
            yield chunk

    seen = run(play({"guest": guest()}, method="POST", body=body(), trailers={"x-t": "1"}))
    assert seen.upstream_body == b"ab"


def failing(request):
    raise UpstreamFailed("nobody there")


@pytest.mark.parametrize(
    ("script", "status", "body", "reset"),
    [
        (failing, 503, b"upstream connect error: nobody there", ""),
        (lambda request: ScriptedResponse(fails_after=True, chunks=(b"a",)), 200, b"a", "upstream_failed"),
    ],
    ids=["before", "within"],
)
def test_upstream_failures(script, status, body, reset):
    seen = run(play({"guest": guest(), "upstream": ScriptedUpstream(script)}))
    assert (seen.status, seen.body) == (status, body)
    assert reset in seen.reset_reason


def test_redis_decides():
    redis = ScriptedRedis(lambda command: 1)
    seen = run(play({"guest": Counting().factory(), "redis": {"redis": redis}}))
    assert (seen.status, seen.endpoint, seen.overridden) == (200, SECOND, True)
    assert seen.host_call_names() == ["proxy_redis_call", "proxy_set_upstream_override_host", "proxy_continue_stream"]
    assert seen.actions == [("proxy_on_request_headers", 4)]


@pytest.fixture(scope="module")
def server():
    with EmbeddedRedis() as embedded:
        yield embedded


def test_the_client_goes_away_before_the_reply(server):
    async def scenario():
        async with Simulator(Counting().factory(), clusters=CLUSTERS, redis={"redis": server.url}) as sim:
            seen = await sim.request(abort="paused")
            assert (seen.status, seen.reset_reason) == (0, "the client went away")
            assert seen.upstream_headers is None
            await sim.finish()
            assert not sim.vm.contexts
        with server.client() as client:
            assert client.get("n") == b"0"

    run(scenario())


def test_the_client_goes_away_in_the_response():
    seen = run(play({"guest": guest(), "upstream": ScriptedUpstream()}, abort="response"))
    assert (seen.status, seen.reset_reason) == (200, "the client went away")


def test_a_request_that_hangs_is_told_with_its_trace():
    redis = {"redis": SteppedRedis()}
    with pytest.raises(SimulatorError, match=r"(?s)did not end within 0.05 s: .*stopped, no callbacks.*redis_call"):
        run(play({"guest": Counting().factory(), "redis": redis}, timeout_s=0.05))


def test_a_pending_call_is_left_over():
    async def scenario():
        async with Simulator(Counting().factory(), clusters=CLUSTERS, redis={"redis": SteppedRedis()}) as sim:
            await sim.request(abort="paused")
            with pytest.raises(LeftoverError, match="1 calls are still pending"):
                await sim.settle(timeout_s=0.01)

    run(scenario())


def test_an_error_of_the_simulators_script_comes_out():
    def script(request):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        run(play({"guest": guest(), "upstream": ScriptedUpstream(script)}))


def test_an_error_in_a_reply_comes_out_of_the_request():
    def broken(call, *arguments):
        raise ZeroDivisionError("mine")

    counting = Counting()
    factory = guest(configure=counting.configure, request_headers=counting.request_headers, redis_call_response=broken)
    with EmbeddedRedis() as redis, pytest.raises(ZeroDivisionError, match="mine"):
        run(play({"guest": factory, "redis": {"redis": redis.url}}))


def test_callouts_reach_the_upstream():
    seen = []

    def tick(call, root):
        headers = [(b":method", b"GET"), (b":path", b"/metrics"), (b":authority", b"llm")]
        call("http_call", b"llm", headers, b"", [], 1000)
        with pytest.raises(HostCallError, match="INTERNAL_FAILURE"):  # a failure at once
            call("http_call", b"empty", headers, b"", [], 1000)

    def response(call, root, call_id, headers, size, trailers):
        seen.append((headers, call("get_buffer_bytes", 4, 0, size) if size else b""))

    async def scenario():
        clusters = {**CLUSTERS, "empty": []}
        async with Simulator(guest(tick=tick, http_call_response=response), clusters=clusters) as sim:
            sim.vm.tick()
            await sim.finish()

    run(scenario())
    assert seen == [(1, FIRST.encode())]


def test_real_servers_stream():
    async def scenario():
        async with ModelServer("m", token_interval_s=0) as first:
            clusters = {"llm": [first.address]}
            async with Simulator(guest(), clusters=clusters, upstream=HttpUpstream()) as sim:
                body = json.dumps({"stream": True, "max_tokens": 3}).encode()
                requests = [sim.request("POST", "/v1/chat/completions", body=body) for _ in range(5)]
                exchanges = await asyncio.gather(*requests, sim.request("GET", "/metrics"), sim.request(path="/none"))
                await sim.finish()
            assert first.requests == 5
            assert 1 <= first.in_flight_max <= 5
            return exchanges

    *chats, metrics, missing = run(scenario())
    for chat in chats:
        events = [json.loads(line[6:]) for line in chat.body.decode().split("\n\n")[:-2]]
        text = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
        assert (chat.status, text) == (200, "word0 word1 word2 ")
        assert chat.body.endswith(b"data: [DONE]\n\n")
    assert b'vllm:num_requests_running{model_name="m"} ' in metrics.body
    assert missing.status == 404


def test_nobody_listens():
    async def scenario():
        async with Simulator(guest(), clusters={"llm": ["127.0.0.1:1"]}, upstream=HttpUpstream()) as sim:
            return await sim.request()

    assert run(scenario()).status == 503


def test_the_model_server_without_streaming():
    async def scenario():
        async with ModelServer("m", token_interval_s=0) as server, aiohttp.ClientSession() as client:
            base = f"http://{server.address}/v1"
            async with client.post(f"{base}/completions", json={"max_tokens": 2}) as response:
                text = (await response.json())["choices"][0]["text"]
            async with client.post(f"{base}/chat/completions", json={"max_tokens": 2}) as response:
                message = (await response.json())["choices"][0]["message"]["content"]
            async with client.post(f"{base}/chat/completions", data=b"[") as response:
                return text, message, response.status, server.in_flight

    assert run(scenario()) == ("word0 word1 ", "word0 word1 ", 400, 0)


def test_a_client_that_leaves_the_model_server_is_no_error(caplog):
    async def scenario():
        server = ModelServer("m", token_interval_s=0)
        async with server, Simulator(guest(), clusters={"llm": [server.address]}, upstream=HttpUpstream()) as sim:
            body = json.dumps({"stream": True, "max_tokens": 4096}).encode()
            await sim.request("POST", "/v1/chat/completions", body=body, abort="response")
        return server

    server = run(scenario())
    assert server.in_flight == 0
    assert not caplog.records


def test_the_simulator_must_be_entered_and_its_seed_is_known():
    sim = Simulator(guest(), seed=5)
    assert sim.seed == 5
    with pytest.raises(SimulatorError, match="async with"):
        sim.vm.tick()
    with pytest.raises(SimulatorError, match="redis://host:port"):
        Simulator(guest(), redis={"r": "localhost"})


def test_endpoints_may_be_given_with_health():
    clusters: dict[str, list[Endpoint | str]] = {"llm": [Endpoint(FIRST, health="Unhealthy"), SECOND]}

    async def scenario():
        async with Simulator(guest(), clusters=clusters) as sim:
            return await sim.request()

    assert run(scenario()).endpoint == SECOND


def test_what_is_exported():
    assert sorted(host_sim.__all__) == host_sim.__all__
    assert all(hasattr(host_sim, name) for name in host_sim.__all__)
    assert {"Simulator", "SteppedSimulator", "EmbeddedRedis", "ModelServer"} <= set(host_sim.__all__)
