"""The command `ailb`: what it says, how it ends."""

import json
import re
import signal

import aiohttp
import pytest

from tests.live.bench import PLUGIN, document, run
from tests.live.processes import ailb, run_ailb
from tests.live.upstream import Upstream


@pytest.fixture
def gateway_yaml(tmp_path):
    return tmp_path / "gateway.yaml"


def test_a_mistake_is_an_error_without_a_traceback(gateway_yaml):
    gateway_yaml.write_text(json.dumps(document("127.0.0.1:1", plugin={})))
    for extra in ((), ("--check",)):
        ended = run_ailb("serve", "-c", str(gateway_yaml), *extra)
        assert ended.returncode == 1
        problem = "plugin.wasm: is required: the path of a .wasm (or native: module:Class)"
        assert ended.stderr == f"Error: {gateway_yaml}: {problem}\n"


def test_a_plugin_that_refuses_its_configuration(gateway_yaml):
    gateway_yaml.write_text(json.dumps(document("127.0.0.1:1", plugin={**PLUGIN, "config": {}})))
    ended = run_ailb("serve", "-c", str(gateway_yaml))
    assert ended.returncode == 1
    assert "no greeting" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_good_file(gateway_yaml):
    gateway_yaml.write_text(json.dumps(document("127.0.0.1:1")))
    ended = run_ailb("serve", "-c", str(gateway_yaml), "--check")
    assert (ended.returncode, ended.stdout) == (0, f"{gateway_yaml} is good\n")


def address(line: str) -> str:
    found = re.search(r"http://[\d.:]+", line)
    assert found is not None
    return found[0]


def test_changes_are_followed_and_a_stop_waits_for_what_is_in_flight(gateway_yaml):
    async def greeting(client, base):
        async with client.get(f"{base}/echo") as response:
            return response.headers["x-greeting"]

    async def scenario():
        async with Upstream() as upstream, aiohttp.ClientSession() as client:

            def configure(**config):
                gateway_yaml.write_text(json.dumps(document(upstream.address, plugin={**PLUGIN, "config": config})))

            configure(greeting="hello")
            with ailb(["serve", "-c", str(gateway_yaml), "--watch"]) as gateway:
                base = address(gateway.until("gateway on"))
                address(gateway.until("page on"))
                seen = [await greeting(client, base)]
                configure(greeting="hi")
                gateway.until("configuration 2 is in use")
                seen.append(await greeting(client, base))
                configure()
                gateway.until("the new configuration is not used, the one before goes on")
                gateway.until("no greeting")
                seen.append(await greeting(client, base))
                upstream.send(b"one")
                async with client.get(f"{base}/stream") as response:
                    await response.content.readany()
                    gateway.process.send_signal(signal.SIGTERM)
                    gateway.until("stopping")
                    upstream.send(b"two", None)
                    body = await response.read()
                return seen, body, gateway.process.wait(20)

    assert run(scenario()) == (["hello", "hi", "hi"], b"two", 0)


@pytest.mark.parametrize("signals", [1, 2], ids=["drain timeout", "second signal"])
def test_a_stop_does_not_wait_for_ever(gateway_yaml, signals):
    """For a request that never ends: as long as configured, or until a second signal."""

    async def scenario():
        async with Upstream() as upstream, aiohttp.ClientSession() as client:
            patience_ms = 1 if signals == 1 else 600_000
            gateway_yaml.write_text(json.dumps(document(upstream.address, drain_timeout_ms=patience_ms)))
            with ailb(["serve", "-c", str(gateway_yaml)]) as gateway:
                base = address(gateway.until("gateway on"))
                upstream.send(b"one")
                async with client.get(f"{base}/stream") as response:
                    await response.content.readany()
                    gateway.process.send_signal(signal.SIGTERM)
                    gateway.until("stopping")
                    if signals == 2:
                        gateway.process.send_signal(signal.SIGINT)
                    with pytest.raises(aiohttp.ClientPayloadError):
                        await response.read()
                return gateway.process.wait(20)

    assert run(scenario()) == signals - 1
