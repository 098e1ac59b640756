"""The table of docs/conformance.md: behaviours, and how each ended on each host.

pytest tests/conformance --conformance-table docs/conformance.md
"""

import ast
from collections.abc import Mapping
from pathlib import Path

from host_sim.testing.hosts import HOST_KINDS

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "conformance.md"
KINDS = HOST_KINDS
TRAPS = "test_failures.py"  # without the native guest
TITLES = {"native": "native guest", "wasm": "wasm guest", "envoy": "Envoy 1.40"}

HEADER = """# Conformance with Envoy 1.40

Each behaviour is one test in `tests/conformance`, written once and run on the simulator with the native guest, on the
simulator with the wasm guest, and on the real Envoy 1.40.0. The probe plugin (`tests/plugins/conformance_probe.py`)
does what a test says in the callback that it says. This page is made by
`pytest tests/conformance --conformance-table docs/conformance.md`.

`yes`: as the test says. `differs`: the simulator is known to differ; the reason stands below the table. `-`: cannot
happen there, because a native guest does not trap.
"""

CRASHES = """
## What is not in the table, because it kills the real Envoy

Each was seen alone on Envoy 1.40.0: the process ends, with all its connections. The simulator does nothing in their
place, so a plugin must not rely on them:

- `send_local_response` in `on_log` or `on_done`
- `continue_stream(RESPONSE)` before the response came
- reading the body, from outside of its callback, after the body callback returned 2 (StopIterationAndWatermark)

A local reply with status 0, and a local reply while the root context is the current one, leave the request without any
answer on the real Envoy.
"""

Outcomes = Mapping[str, Mapping[str, str]]  # test -> kind -> passed, xfailed, failed, skipped


def behaviours() -> dict[str, tuple[str, str]]:
    """{test: (topic, behaviour)}, in the order of the files."""
    found: dict[str, tuple[str, str]] = {}
    for path in sorted(HERE.glob("test_*.py")):
        module = ast.parse(path.read_text())
        topic = (ast.get_docstring(module) or "").rstrip(".")
        for node in module.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                arguments = {argument.arg for argument in node.args.args}
                if arguments & {"probe", "stopping_probe", "failing"}:
                    behaviour = " ".join((ast.get_docstring(node) or "").split())
                    assert behaviour, f"{path.name}::{node.name} does not say what it shows"
                    found[f"{path.name}::{node.name}"] = (topic, behaviour)
    return found


def differences() -> dict[str, str]:
    """{test: why the simulator differs}"""
    found: dict[str, str] = {}
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            for decorator in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.differs":
                    assert isinstance(node, ast.FunctionDef)
                    found[f"{path.name}::{node.name}"] = ast.literal_eval(decorator.args[0])
    return found


def document(outcomes: Outcomes) -> str:
    listed = behaviours()
    lines = [HEADER, f"{len(listed)} behaviours."]
    topic = ""
    for test, (its_topic, behaviour) in listed.items():
        if its_topic != topic:
            topic = its_topic
            lines += ["", f"## {topic}", "", "| behaviour | " + " | ".join(TITLES[kind] for kind in KINDS) + " |"]
            lines.append("|---" * (1 + len(KINDS)) + "|")
        cells = [_cell(test, kind, outcomes.get(test, {}).get(kind, "")) for kind in KINDS]
        lines.append(f"| {behaviour.replace('|', chr(92) + '|')} | " + " | ".join(cells) + " |")
    lines += ["", "## Differences that are known", ""]
    lines += [f"- {listed[test][1]}: {reason}." for test, reason in differences().items()]
    return "\n".join(lines) + "\n" + CRASHES


def _cell(test: str, kind: str, outcome: str) -> str:
    if kind == "native" and test.startswith(TRAPS):
        return "-"
    return {"passed": "yes", "xfailed": "differs", "skipped": "not run", "": "not run"}.get(outcome, "**no**")


def listed_in(text: str) -> list[str]:
    """The behaviours of a document, in order."""
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| behaviour ")]
    return [row[2:].rsplit(" | ", len(KINDS))[0] for row in rows]
