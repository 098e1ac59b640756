"""A new configuration while requests are on the way."""

import asyncio

import pytest

from host_sim.errors import LoadError
from host_sim.live import ConfigError
from host_sim.live.watch import change, stamp
from tests.live.bench import PLUGIN, bench, configuration, run
from tests.live.upstream import Upstream


def plugin(**config):
    return {**PLUGIN, "config": config}


async def greeting(gateway):
    async with gateway.client.get(f"{gateway.base}/echo") as response:
        return response.headers["x-greeting"]


def ports(gateway):
    return {"listen": str(gateway.live.config.listen), "admin": str(gateway.live.config.admin)}


def test_what_is_in_flight_ends_on_what_it_began_with():
    async def scenario():
        async with Upstream() as upstream, bench(upstream.address) as gateway:
            live, old = gateway.live, gateway.live.worker
            upstream.send(b"one")
            async with gateway.client.get(f"{gateway.base}/stream") as response:
                await response.content.readany()
                await live.reload(configuration(upstream.address, plugin=plugin(greeting="hi"), **ports(gateway)))
                while_old = (response.headers["x-greeting"], await greeting(gateway), live.retiring)
                assert len(old.streams) == 1
                upstream.send(b"two", None)
                assert await response.read() == b"two"
            await gateway.until(lambda: live.observations.requests[0].done)
            await asyncio.gather(*live._retiring)
            return while_old, old.vm.contexts, live.retiring, await greeting(gateway)

    while_old, contexts, retiring, after = run(scenario())
    assert while_old == ("hello", "hi", 1)
    assert (contexts, retiring, after) == ({}, 0, "hi")


def test_shared_data_outlives_a_configuration():
    async def scenario():
        async with Upstream() as upstream, bench(upstream.address) as gateway:
            shared = gateway.live.worker.vm.gateway.shared
            await gateway.live.reload(configuration(upstream.address, **ports(gateway)))
            return shared is gateway.live.worker.vm.gateway.shared

    assert run(scenario())


def test_endpoints_come_and_go():
    async def scenario():
        async with Upstream() as first, Upstream() as second, bench(first.address) as gateway:
            await gateway.text("/echo")
            await gateway.live.reload(configuration(second.address, **ports(gateway)))
            await gateway.text("/echo")
            rows = (await gateway.state())["endpoints"]
            return [(row["address"], row["requests"]) for row in rows], [(second.address, 1)]

    seen, expected = run(scenario())
    assert seen == expected


def test_a_plugin_that_does_not_start_changes_nothing():
    async def scenario():
        async with Upstream() as upstream, bench(upstream.address) as gateway:
            with pytest.raises(LoadError, match="no greeting"):
                await gateway.live.reload(configuration(upstream.address, plugin=plugin(), **ports(gateway)))
            return await greeting(gateway), gateway.live.worker.number

    assert run(scenario()) == ("hello", 1)


def test_the_ports_stay():
    async def scenario():
        async with Upstream() as upstream, bench(upstream.address) as gateway:
            with pytest.raises(ConfigError, match="cannot be changed"):
                await gateway.live.reload(configuration(upstream.address, listen="[::1]:0"))

    run(scenario())


def test_a_change_is_told_when_the_file_is_whole(tmp_path):
    file, other = tmp_path / "a", tmp_path / "b"
    file.write_text("one")

    async def scenario():
        seen = stamp([file, other])
        waiting = asyncio.create_task(change([file, other], seen))
        other.write_text("made")
        made = await waiting
        assert made == stamp([file, other]) != seen
        other.unlink()
        return await change([file, other], made) == seen

    assert run(scenario())
