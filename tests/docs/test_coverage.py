"""docs/coverage.md is up to date, and nothing that is promised is without a test."""

from tests.docs.coverage import DOCUMENT, document, shown, subjects


def test_the_page_is_what_the_command_prints() -> None:
    assert DOCUMENT.read_text() == document(), "make it anew: python -m tests.docs.coverage > docs/coverage.md"


def test_everything_is_shown_by_a_test() -> None:
    tests = shown()
    assert [what for what in subjects() if what not in tests] == []


def test_what_tests_show_exists() -> None:
    assert sorted(set(shown()) - set(subjects())) == []


def test_a_mark_is_found_in_functions_and_classes() -> None:
    assert "tests/docs/test_coverage.py::test_a_mark_is_found_in_functions_and_classes" not in str(shown())
    assert any("::Test" in test for test in shown()["key lb_config.slow_start_s"])
