"""The table of docs/coverage.md: what is promised, and the tests that show it.

    python -m tests.docs.coverage > docs/coverage.md

A test says what it shows by the mark `shows`: "key lb_config.timeout", "policy prefix_cache", "defect 3".
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ai_load_balancer.config.policies import POLICIES
from ai_load_balancer.config.schema import json_schema

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "coverage.md"
MARK = "pytest.mark.shows"

# Of Higress's own plugin of this name, which ours replaces.
DEFECTS = {
    1: "a request without a body waits until it times out",
    2: "counts leak when a client leaves early, an override is refused, a release fails or a gateway dies",
    3: "a host that was cleaned away while it had requests gets a negative count, and all traffic when it returns",
    4: "a new host, or one that is back, takes all traffic at first",
    5: "scripts touch keys in several slots or keys that they did not declare, which a Redis Cluster refuses",
    6: "prefixes in another order or repeated have the same key; routes, models and tenants share keys",
    7: "a prefix whose host is gone is not repaired",
    8: "ties are not broken evenly",
    9: "one unreadable metrics text switches the policy off; new names are unknown; all is parsed at every request",
    10: "no response headers, 201 and 204, old errors and fast failures are taken wrongly by cluster_metrics",
    11: "each worker has statistics of its own",
    12: "choosing a service makes the gateway match the routes again",
    13: "bodies that cannot be read leave error lines, and nothing tells why a host was chosen",
}

HEADER = """# What is shown by which test

Every key of the configuration on both targets, every policy, and every defect that Higress's own ai-load-balancer had
when this one was written. A test says by the mark `shows` what it shows; this page is made by
`python -m tests.docs.coverage > docs/coverage.md`. A part of a test's name in brackets, its parameters, is left out.
"""


def subjects() -> dict[str, str]:
    """{what is to be shown: its description}, in the order of the page."""
    properties = json_schema()["properties"]
    matches = properties["_rules_"]["items"]["properties"]
    found = {f"key {name}": "" for name in properties if name != "lb_config"}
    found |= {f"key {name}": "" for name in matches if name not in properties}
    for name, described in sorted(properties["lb_config"]["properties"].items()):
        found[f"key lb_config.{name}"] = described["description"]
    found |= {f"policy {name}": "" for name in POLICIES}
    found |= {f"defect {number}": text for number, text in DEFECTS.items()}
    return found


@cache
def shown() -> dict[str, list[str]]:
    """{what is shown: the tests that show it}"""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for test, what in _marks(ast.parse(path.read_text()), path.relative_to(ROOT).as_posix()):
            found.setdefault(what, []).append(test)
    return found


def _marks(scope: ast.Module | ast.ClassDef, name: str) -> Iterator[tuple[str, str]]:
    """(test, what it shows) of a file or class."""
    for node in scope.body:
        if isinstance(node, ast.ClassDef):
            yield from _marks(node, f"{name}::{node.name}")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == MARK:
                    for argument in mark.args:
                        yield f"{name}::{node.name}", ast.literal_eval(argument)


def document() -> str:
    tests = shown()
    lines = [HEADER]
    for kind, title in (("key", "Keys"), ("policy", "Policies"), ("defect", "Defects that are repaired")):
        lines += [f"## {title}", "", f"| {kind} | shown by |", "|---|---|"]
        for what, description in subjects().items():
            of_kind, _, name = what.partition(" ")
            if of_kind == kind:
                about = f"{name}: {description}" if kind == "defect" else f"`{name}`"
                lines.append(f"| {about} | {'<br>'.join(f'`{test}`' for test in tests.get(what, []))} |")
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    print(document(), end="")
