from pathlib import Path

import pytest

from host_sim.testing.envoy_config import Cluster, Plugin, bootstrap
from host_sim.testing.envoy_process import validate
from tests.artifacts import require_artifact
from tests.envoy.binaries import HIGRESS_BASE, NEWEST, require_envoy
from tests.envoy.conftest import plugin_configuration

ADDRESSES = ["127.0.0.1:1", "127.0.0.1:2"]


@pytest.mark.parametrize("version", [HIGRESS_BASE, NEWEST])
def test_validation_accepts_the_artifact(version: str, tmp_path: Path) -> None:
    plugin = Plugin(require_artifact("envoy"), plugin_configuration(ADDRESSES))
    assert validate(require_envoy(version), bootstrap([Cluster("llm", ADDRESSES)], plugin), tmp_path) is None


def test_a_configuration_that_the_filter_refuses_stops_the_start(tmp_path: Path) -> None:
    plugin = Plugin(require_artifact("envoy"), {"lb_policy": "no_such_policy"})
    refusal = validate(require_envoy(NEWEST), bootstrap([Cluster("llm", ADDRESSES)], plugin), tmp_path)
    assert refusal is not None
    assert "no_such_policy" in refusal
