"""docs/conformance.md is up to date."""

from tests.conformance.table import DOCUMENT, behaviours, listed_in


def test_the_document_lists_the_behaviours() -> None:
    listed = listed_in(DOCUMENT.read_text())
    assert listed == [behaviour for _, behaviour in behaviours().values()], (
        "make it anew: pytest tests/conformance --conformance-table docs/conformance.md"
    )
    assert len(listed) >= 60


def test_behaviours_are_told_apart() -> None:
    texts = [behaviour for _, behaviour in behaviours().values()]
    assert sorted(texts) == sorted(set(texts))


def test_the_document_says_how_each_ended() -> None:
    text = DOCUMENT.read_text()
    assert "**no**" not in text
    assert "not run" not in text
