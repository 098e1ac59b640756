"""The harness itself, without our filter: what it reports is what Envoy does."""

from pathlib import Path

import pytest
from wasmtime import wat2wasm

from host_sim.testing.envoy_config import DESTINATION_HEADER, Cluster, Plugin, bootstrap
from host_sim.testing.envoy_process import EnvoyError, run_envoy, validate
from tests.envoy.binaries import HIGRESS_BASE, NEWEST, require_envoy
from tests.envoy.gateway import Client, Gateway

# The least that Envoy accepts as a plugin.
PLUGIN = """
(module
  {imports}
  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) i32.const 1024))
"""
UNKNOWN_IMPORT = '(import "env" "proxy_redis_call" (func (param i32 i32 i32 i32 i32) (result i32)))'


def make_module(directory: Path, imports: str = "") -> Path:
    path = directory / "plugin.wasm"
    path.write_bytes(wat2wasm(PLUGIN.format(imports=imports)))
    return path


@pytest.mark.parametrize("version", [HIGRESS_BASE, NEWEST])
def test_validation_accepts_a_minimal_plugin(version: str, tmp_path: Path) -> None:
    config = bootstrap([Cluster("llm", ["127.0.0.1:1"])], Plugin(make_module(tmp_path)))
    assert validate(require_envoy(version), config, tmp_path) is None


@pytest.mark.parametrize("version", [HIGRESS_BASE, NEWEST])
def test_validation_tells_of_an_unknown_import(version: str, tmp_path: Path) -> None:
    config = bootstrap([Cluster("llm", ["127.0.0.1:1"])], Plugin(make_module(tmp_path, UNKNOWN_IMPORT)))
    refusal = validate(require_envoy(version), config, tmp_path)
    assert refusal is not None
    assert "proxy_redis_call" in refusal


def test_an_envoy_that_cannot_start_is_told_with_its_log(tmp_path: Path) -> None:
    config = bootstrap([Cluster("llm", ["127.0.0.1:1"])], Plugin(make_module(tmp_path, UNKNOWN_IMPORT)))
    with pytest.raises(EnvoyError, match="proxy_redis_call"), run_envoy(require_envoy(NEWEST), config, tmp_path):
        pass


def test_the_destination_header_chooses_the_endpoint(plain_gateway: Gateway) -> None:
    async def scenario(client: Client) -> None:
        for upstream in plain_gateway.fleet.upstreams:
            for _ in range(3):
                answer = await client.request(headers={DESTINATION_HEADER: upstream.address})
                assert (answer.status, answer.upstream) == (200, upstream.name)

    plain_gateway.run(scenario)


def test_an_address_outside_the_cluster_is_ignored(plain_gateway: Gateway) -> None:
    async def scenario(client: Client) -> set[str | None]:
        answers = [await client.request(headers={DESTINATION_HEADER: "127.0.0.1:1"}) for _ in range(3)]
        return {answer.upstream for answer in answers}

    assert plain_gateway.run(scenario) == {"a", "b", "c"}


def test_held_replies_stay_in_flight_until_the_client_goes_away(plain_gateway: Gateway) -> None:
    async def scenario(client: Client) -> None:
        fleet = plain_gateway.fleet
        fleet.hold()
        requests = [client.start() for _ in range(3)]
        await fleet.wait_for(lambda: fleet.in_flight == [1, 1, 1])
        requests[0].cancel()
        await fleet.wait_for(lambda: sum(fleet.in_flight) == 2)
        await plain_gateway.wait_for_active_requests(2)
        fleet.release()
        assert [(await request).status for request in requests[1:]] == [200, 200]

    plain_gateway.run(scenario)
