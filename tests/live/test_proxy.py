"""Requests of a real client through the live gateway to a real server."""

import asyncio
import gzip
import socket
from contextlib import suppress

import aiohttp
import pytest

from host_sim.live import gateway as gateway_module
from host_sim.live.transfer import UNSENT_SIZE_MAX
from tests.host_sim.guests import wat
from tests.live.bench import bench, run
from tests.live.upstream import Upstream

READ_SIZE_MAX = 256 * 1024  # what aiohttp may hand over at once


async def raw_exchange(bench, request):
    """What comes back on a connection of its own, until the gateway closes it."""
    reader, writer = await bench.connect()
    writer.write(request)
    reply = await reader.read()
    writer.close()
    return reply


def test_a_request_and_its_response_arrive_as_they_are():
    async def scenario():
        async with Upstream() as upstream, bench(upstream.address) as gateway:
            reply = await raw_exchange(
                gateway,
                b"POST /a//b%20c?x=%2F&y HTTP/1.1\r\nHost: llm.example\r\nX-A: 1\r\nX-A: 2\r\nTE: trailers\r\n"
                b"Connection: close, x-hop\r\nX-Hop: 1\r\nContent-Length: 3\r\n\r\nabc",
            )
            return reply, await upstream.requests.get()

    reply, seen = run(scenario())
    head, _, body = reply.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert (lines[0], body) == (b"http/1.1 201 created", b"abc")
    assert {b"set-cookie: a=1", b"set-cookie: b=2", b"x-greeting: hello", b"content-length: 3"} <= set(lines)
    assert not [line for line in lines if line.startswith(b"content-type")]
    assert (seen.method, seen.raw_path, seen.host) == ("POST", "/a//b%20c?x=%2F&y", "llm.example")
    assert seen.headers.getall("x-a") == ["1", "2"]
    assert seen.headers["content-length"] == "3"
    assert seen.headers["x-end-of-stream"] == "False"
    assert len(seen.headers["x-request-id"]) == 36
    assert not {"te", "x-hop", "x-forwarded-for"} & set(map(str.lower, seen.headers))


def test_a_body_of_another_encoding_is_left_alone():
    async def scenario():
        async with Upstream() as upstream, bench(upstream.address) as gateway:
            packed = gzip.compress(b"prompt")
            async with gateway.client.post(
                f"{gateway.base}/echo", data=packed, headers={"Content-Encoding": "gzip"}
            ) as response:
                return packed, await response.read()

    packed, echoed = run(scenario())
    assert echoed == packed


@pytest.mark.parametrize(
    ("method", "path", "status", "length"), [("HEAD", "/echo", 201, "0"), ("GET", "/empty", 204, None)]
)
def test_responses_without_a_body(method, path, status, length):
    async def scenario():
        async with (
            Upstream() as upstream,
            bench(upstream.address) as gateway,
            gateway.client.request(method, gateway.base + path) as response,
        ):
            seen = await upstream.requests.get()
            return response.status, response.headers.get("content-length"), await response.read(), seen.headers

    seen_status, seen_length, body, headers = run(scenario())
    assert (seen_status, seen_length, body) == (status, length, b"")
    assert headers["x-end-of-stream"] == "True"


def test_the_client_gets_each_chunk_as_it_is_sent():
    async def scenario():
        async with (
            Upstream() as upstream,
            bench(upstream.address) as gateway,
            gateway.client.get(f"{gateway.base}/stream") as response,
        ):
            for chunk in (b"one", b"two", b"three"):  # the next is sent only after this one has arrived
                upstream.send(chunk)
                assert await response.content.readany() == chunk
            upstream.send(None)
            assert await response.content.read() == b""

    run(scenario())


def test_the_upstream_gets_each_chunk_as_it_is_sent():
    async def scenario():
        async with Upstream() as upstream, bench(upstream.address) as gateway:
            arrived: asyncio.Queue[bytes] = asyncio.Queue()

            async def prompt():
                for chunk in (b"one", b"two", b"three"):
                    yield chunk
                    arrived.put_nowait(await upstream.received.get())

            answer = await gateway.text("/received", "POST", data=prompt())
            return answer, [arrived.get_nowait() for _ in range(3)]

    assert run(scenario()) == ((200, "all"), [b"one", b"two", b"three"])


def test_a_body_that_the_plugin_collects_goes_on_when_it_is_whole():
    async def scenario():
        async with Upstream() as upstream, bench(upstream.address) as gateway:

            async def prompt():
                yield b"one"
                assert upstream.requests.empty()
                yield b"two"

            return await gateway.text("/collect/echo", "POST", data=prompt())

    assert run(scenario()) == (201, "onetwo")


def test_a_collected_body_above_the_limit_is_refused():
    async def scenario():
        plugin = {"native": "tests.live.plugin:Plugin", "config": {"greeting": ""}, "buffer_size_max": 10}
        async with Upstream() as upstream, bench(upstream.address, plugin=plugin) as gateway:

            async def prompt():
                yield b"more than ten bytes"
                await asyncio.Event().wait()  # there is more to come

            answer = await gateway.text("/collect/echo", "POST", data=prompt())
            return answer, upstream.requests.empty()

    assert run(scenario()) == ((413, "Payload Too Large"), True)


STOPPED_ROUNDS_MAX = 100


async def other_requests(gateway, count=30):
    """So much has happened that what is not held back would have gone on."""
    for _ in range(count):
        await gateway.text("/echo", "POST", data=b"x")


def held(gateway):
    """Bytes in the gateway's own hands, of all streams."""
    streams = gateway.live.worker.streams
    return sum(
        sum(map(len, stream.upstream.chunks + stream.downstream.chunks)) + stream.request.held_size
        for stream in streams
    )


async def stopped(gateway, sent_size):
    """How much was sent when the sender was held back: what nothing holds back would go on.

    The kernel's buffers in between take some megabytes more for a while.
    """
    for _ in range(STOPPED_ROUNDS_MAX):
        size = sent_size()
        await other_requests(gateway)
        if sent_size() == size:
            return size
    raise AssertionError(f"it goes on sending: {sent_size()} bytes")


def test_a_client_that_does_not_read_holds_the_upstream_back():
    async def scenario():
        async with (
            Upstream() as upstream,
            bench(upstream.address) as gateway,
            gateway.client.get(f"{gateway.base}/endless") as response,
        ):
            while held(gateway) < UNSENT_SIZE_MAX:
                await gateway.text("/echo", "POST", data=b"x")
            sent = await stopped(gateway, lambda: upstream.sent)
            assert held(gateway) <= UNSENT_SIZE_MAX + READ_SIZE_MAX
            await response.content.readexactly(sent + 1)  # and it goes on when the client reads

    run(scenario())


@pytest.mark.parametrize("path", ["/upload", "/hold/upload"])
def test_an_upstream_that_does_not_read_holds_the_client_back(path):
    sent = 0

    async def prompt(size):
        nonlocal sent
        while sent < size:
            yield bytes(64 * 1024)
            sent += 64 * 1024

    async def scenario():
        async with Upstream() as upstream, bench(upstream.address) as gateway:
            size = 32 << 20
            request = asyncio.create_task(gateway.text(path, "POST", data=prompt(size)))
            while held(gateway) < UNSENT_SIZE_MAX:
                await gateway.text("/echo", "POST", data=b"x")
            assert await stopped(gateway, lambda: sent) < size
            assert held(gateway) <= UNSENT_SIZE_MAX + READ_SIZE_MAX
            if path == "/hold/upload":
                request.cancel()
                with suppress(asyncio.CancelledError):
                    await request
            else:
                upstream.reading.set()
                assert await request == (200, str(size))

    run(scenario())


def test_the_client_goes_away_while_the_plugin_holds_its_request():
    async def scenario():
        async with Upstream() as upstream, bench(upstream.address) as gateway:
            _, writer = await gateway.connect()
            writer.write(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
            await gateway.until(lambda: gateway.live.observations.requests)
            [record] = gateway.live.observations.requests
            await gateway.until(lambda: record.reason == "held by the plugin")
            writer.close()
            await gateway.until(lambda: record.done)
            contexts = len(gateway.live.worker.vm.contexts)
            return record, contexts, upstream.requests.empty()

    record, contexts, untouched = run(scenario())
    assert (record.reason, record.status, contexts, untouched) == ("the client went away", 0, 1, True)


def test_the_client_goes_away_in_the_response():
    async def scenario():
        async with Upstream() as upstream, bench(upstream.address) as gateway:
            upstream.send(b"one")
            async with gateway.client.get(f"{gateway.base}/stream") as response:
                await response.content.readany()
                response.close()
            await upstream.client_gone.wait()
            [record] = gateway.live.observations.requests
            await gateway.until(lambda: record.done)
            return record, gateway.live.observations.counters("llm", upstream.address), gateway.live.worker

    record, counters, worker = run(scenario())
    assert (record.reason, record.status) == ("the client went away", 200)
    assert (counters.requests, counters.in_flight, counters.errors) == (1, 0, 0)
    assert not worker.streams


def nobody():
    """An address at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_nobody_listens_at_the_endpoint():
    async def scenario():
        address = nobody()
        async with bench(address) as gateway:
            status, text = await gateway.text("/")
            [record] = gateway.live.observations.requests
            return status, text, record.reason, gateway.live.observations.counters("llm", address).errors

    status, text, reason, errors = run(scenario())
    assert (status, errors) == (503, 1)
    assert text.startswith("upstream connect error: 127.0.0.1:")
    assert reason.startswith("upstream_failed: upstream connect error")


def test_the_upstream_breaks_off():
    async def scenario():
        async with Upstream() as upstream, bench(upstream.address) as gateway:
            async with gateway.client.get(f"{gateway.base}/break") as response:
                with pytest.raises(aiohttp.ClientPayloadError):
                    await response.read()
            [record] = gateway.live.observations.requests
            await gateway.until(lambda: record.done)
            return record, gateway.live.observations.counters("llm", upstream.address).errors

    record, errors = run(scenario())
    assert (record.status, errors) == (200, 1)
    assert "upstream_failed" in record.reason


def test_the_plugin_answers():
    async def scenario():
        async with Upstream() as upstream, bench(upstream.address) as gateway:
            answer = await gateway.text("/refuse", "POST", data=bytes(100_000))
            state = await gateway.state()
            return answer, upstream.requests.empty(), state

    answer, untouched, state = run(scenario())
    assert (answer, untouched) == ((403, "not here"), True)
    [record] = state["requests"]
    assert record["reason"].startswith("answered by the plugin")
    assert state["statuses"] == {"4xx": 1}
    assert "refused" in state["logs"][0]["message"]


def test_the_plugin_chooses():
    async def scenario():
        async with Upstream() as first, Upstream() as second, bench(first.address, second.address) as gateway:
            for upstream in (second, second, first):
                async with gateway.client.get(f"{gateway.base}/choose/echo?={upstream.address}") as response:
                    assert response.headers["x-upstream"] == upstream.address
            await gateway.text("/echo")
            return [(record.endpoint, record.overridden) for record in gateway.live.observations.requests], (
                first.address,
                second.address,
            )

    seen, (first, second) = run(scenario())
    assert seen == [(second, True), (second, True), (first, True), (first, False)]


def test_routes_by_domain_and_path():
    async def scenario():
        async with Upstream() as first, Upstream() as second:
            routes = [
                {"name": "chat", "cluster": "llm", "prefix": "/v1/", "domains": ["llm.example"]},
                {"name": "other", "cluster": "other", "prefix": "/o"},
            ]
            clusters = {"llm": {"endpoints": [first.address]}, "other": {"endpoints": [second.address]}}
            async with bench(routes=routes, clusters=clusters) as gateway:
                hosts = {"Host": "llm.example:80"}
                async with gateway.client.get(f"{gateway.base}/v1/x", headers=hosts) as response:
                    assert response.headers["x-upstream"] == first.address
                async with gateway.client.get(f"{gateway.base}/o") as response:
                    assert response.headers["x-upstream"] == second.address
                assert await gateway.text("/v1/x") == (404, "")

    run(scenario())


def test_a_status_that_is_none_becomes_500():
    async def scenario():
        async with Upstream() as upstream, bench(upstream.address) as gateway:
            return await gateway.text("/bad-status")

    assert run(scenario())[0] == 500


def test_more_requests_than_allowed_at_a_time(monkeypatch):
    monkeypatch.setattr(gateway_module, "STREAMS_MAX", 1)

    async def scenario():
        async with Upstream() as upstream, bench(upstream.address) as gateway:
            upstream.send(b"one")
            async with gateway.client.get(f"{gateway.base}/stream") as response:
                await response.content.readany()
                refused = await gateway.text("/echo")
                upstream.send(None)
                await response.read()
            [record] = gateway.live.observations.requests
            await gateway.until(lambda: record.done)
            return refused, await gateway.text("/echo")

    assert run(scenario()) == ((503, "overflow"), (201, ""))


@pytest.mark.parametrize("callback", ["context_create", "request_headers", "response_headers"])
def test_an_error_of_the_host_is_told_and_the_gateway_lives(monkeypatch, caplog, callback):
    from host_sim.abi import ABI_HIGRESS
    from tests.host_sim.guests import ScriptedGuest

    def broken(call, *arguments):
        if arguments[0] > 1:  # not the root context
            raise ZeroDivisionError("mine")
        return 1

    def factory(source):
        return lambda target, host, environment: ScriptedGuest({callback: broken}, ABI_HIGRESS, host)

    monkeypatch.setattr(gateway_module, "guest_factory", factory)

    async def scenario():
        async with Upstream() as upstream, bench(upstream.address) as gateway:
            for _ in range(2):
                with suppress(aiohttp.ServerDisconnectedError):  # or 500, or 503: it depends on how far it had come
                    assert (await gateway.text("/echo"))[0] >= 500
            return await gateway.state(), gateway.live.worker.streams

    state, streams = run(scenario())
    assert any("ZeroDivisionError('mine')" in note["text"] for note in state["notes"])
    assert not streams
    assert "mine" in caplog.text


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        (b"http://other.example/a?b=c", "/a?b=c", "other.example"),
        (b"/a;b=c/%2e%2e/?d", "/a;b=c/%2e%2e/?d", "llm.example"),
        (b"//double", "//double", "llm.example"),
    ],
)
def test_targets_arrive_as_they_are(target, path, host):
    async def scenario():
        async with Upstream() as upstream, bench(upstream.address) as gateway:
            head = b"GET " + target + b" HTTP/1.1\r\nHost: llm.example\r\nConnection: close\r\n\r\n"
            reply = await raw_exchange(gateway, head)
            return reply, await upstream.requests.get()

    reply, seen = run(scenario())
    assert reply.startswith(b"HTTP/1.1 201 ")
    assert (seen.raw_path, seen.host) == (path, host)


def test_a_client_that_waits_for_the_go_ahead():
    async def scenario():
        async with Upstream() as upstream, bench(upstream.address) as gateway:
            body = bytes(100_000)
            async with gateway.client.post(f"{gateway.base}/echo", data=body, expect100=True) as response:
                seen = await upstream.requests.get()
                return response.status, await response.read() == body, "expect" in seen.headers

    assert run(scenario()) == (201, True, False)


def test_a_malformed_body_ends_the_request():
    async def scenario():
        async with Upstream() as upstream, bench(upstream.address) as gateway:
            head = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n"
            await raw_exchange(gateway, head)
            await gateway.until(lambda: all(record.done for record in gateway.live.observations.requests))
            return (await gateway.text("/echo"))[0], len(gateway.live.worker.streams)

    assert run(scenario()) == (201, 0)


TRAPPING = """;;;
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (if (i32.gt_u (local.get 1) (i32.const 12)) (then (unreachable)))
    (i32.const 0))
"""


@pytest.mark.parametrize(
    ("target", "policy", "trapped", "after"),
    [
        ("higress", "FAIL_CLOSED", 503, 201),
        ("envoy", "FAIL_CLOSED", 503, 503),
        ("envoy", "FAIL_OPEN", 503, 201),
    ],
)
def test_a_plugin_that_traps(tmp_path, target, policy, trapped, after):
    module = tmp_path / "trapping.wasm"
    module.write_bytes(wat(TRAPPING))
    plugin = {"wasm": str(module), "target": target, "failure_policy": policy}

    async def scenario():
        async with Upstream() as upstream, bench(upstream.address, plugin=plugin) as gateway:
            many = {f"x-{number}": "1" for number in range(12)}
            statuses = [(await gateway.text("/echo", headers=headers))[0] for headers in ({}, many, {})]
            return statuses, await gateway.state()

    statuses, state = run(scenario())
    assert statuses == [201, trapped, after]
    assert (state["plugin"]["vm"] == "running") == (target == "higress")
