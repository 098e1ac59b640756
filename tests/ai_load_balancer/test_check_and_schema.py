"""`ailb check` and `ailb schema`, and the table in the documentation."""

import json
import re
from pathlib import Path

import pytest
import yaml
from ai_load_balancer.config.schema import json_schema, reference_table
from click.testing import CliRunner, Result

from host_sim.cli import main

ROOT = Path(__file__).resolve().parents[2]
GOOD = {"lb_policy": "global_least_request", "lb_config": {"serviceFQDN": "redis.static", "servicePort": "6379"}}
RESOURCE = {
    "kind": "WasmPlugin",
    "spec": {
        "defaultConfig": GOOD,
        "matchRules": [
            {"ingress": ["chat"], "config": {"lb_config": {"maxRequestCount": 5}}},
            {"domain": ["old.example"], "configDisable": True},
        ],
    },
}


def check(tmp_path: Path, text: str, *options: str) -> Result:
    file = tmp_path / "config"
    file.write_text(text)
    return CliRunner().invoke(main, ["check", str(file), *options])


@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump])
def test_a_good_configuration(tmp_path: Path, write):
    result = check(tmp_path, write(GOOD))
    assert result.exit_code == 0
    assert "is good: a global configuration" in result.output


def test_a_wasm_plugin_resource(tmp_path: Path):
    result = check(tmp_path, yaml.safe_dump(RESOURCE))
    assert (result.exit_code, "is good: 1 rules, a global" in result.output) == (0, True)


def test_the_example_resource_is_good():
    result = CliRunner().invoke(main, ["check", str(ROOT / "docs" / "examples" / "wasmplugin.yaml")])
    assert result.exit_code == 0, result.output


def test_every_error_and_its_place(tmp_path: Path):
    broken = {"kind": "WasmPlugin", "spec": {"defaultConfig": {"lb_policy": "x", "lb_config": {"servicePort": 0}}}}
    result = check(tmp_path, yaml.safe_dump(broken))
    assert result.exit_code == 1
    for key in ("lb_policy", "lb_config.serviceFQDN", "lb_config.servicePort"):
        assert f"\n{key}: " in result.output


def test_warnings_are_shown(tmp_path: Path):
    result = check(tmp_path, json.dumps({**GOOD, "lb_Policy": 1}))
    assert "warning: lb_Policy: unknown key, ignored; did you mean lb_policy?" in result.output
    assert result.exit_code == 0


def test_the_target_decides_what_is_required(tmp_path: Path):
    assert check(tmp_path, json.dumps(GOOD), "--target", "envoy").exit_code == 1
    local = {"lb_policy": "global_least_request", "endpoints": ["10.0.0.1:80"]}
    assert check(tmp_path, json.dumps(local), "--target", "envoy").exit_code == 0


@pytest.mark.parametrize("text", ["a: [", "kind: WasmPlugin\nspec: 5\n", "kind: WasmPlugin\nspec: {matchRules: [5]}\n"])
def test_what_cannot_be_read_is_told_without_a_traceback(tmp_path: Path, text: str):
    result = check(tmp_path, text)
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")


def test_the_schema_has_every_key_of_the_table():
    schema = json_schema()
    keys = set(schema["properties"]["lb_config"]["properties"]) - {"clusters"}  # a list of objects
    assert keys == set(re.findall(r"`lb_config\.(\w+)`", reference_table()))
    assert schema["properties"]["lb_config"]["properties"]["servicePort"]["maximum"] == 65535
    assert set(schema["properties"]["_rules_"]["items"]["properties"]) >= {"_match_route_", "lb_policy"}
    assert json.loads(CliRunner().invoke(main, ["schema"]).output) == schema


def test_the_documentation_has_the_generated_table():
    document = (ROOT / "docs" / "configuration.md").read_text()
    [table] = re.findall(r"<!-- generated: ailb schema --table -->\n(.*?)<!-- end -->", document, re.DOTALL)
    assert table == CliRunner().invoke(main, ["schema", "--table"]).output
