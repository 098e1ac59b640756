from pathlib import Path

import pytest
from proxywasm_build import cache
from proxywasm_build.build import Request
from proxywasm_build.plugin import Linked
from proxywasm_build.targets import ENVOY, HIGRESS, Target


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The plugins built so far; a build takes no time here."""
    done: list[str] = []

    def build(request: Request) -> Linked:
        done.append(request.plugin)
        return Linked(b"module", (), (), 0, 0)

    monkeypatch.setattr(cache, "build", build)
    return done


def cached(folder: Path, plugin: str = "a:A", target: Target = ENVOY, debug: bool = False) -> Path:
    return cache.cached_build(Request(plugin, target, (folder / "plugins",), debug=debug), folder / "cache")


def test_what_is_up_to_date_is_not_built_again(builds: list[str], tmp_path: Path) -> None:
    assert cached(tmp_path) == cached(tmp_path)
    assert builds == ["a:A"]


def test_a_change_in_the_python_path_is_noticed_and_the_outdated_module_goes(builds: list[str], tmp_path: Path) -> None:
    before = cached(tmp_path)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "a.py").write_text("x = 1")
    after = cached(tmp_path)
    assert after.is_file()
    assert not before.exists()
    assert builds == ["a:A"] * 2


def test_classes_targets_and_debug_builds_live_beside_each_other(builds: list[str], tmp_path: Path) -> None:
    made = [cached(tmp_path), cached(tmp_path, "a:B"), cached(tmp_path, target=HIGRESS), cached(tmp_path, debug=True)]
    assert all(path.is_file() for path in made)
    assert len({*made}) == len(made)
