"""Options of the tests."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rewrite` makes the golden transcripts what the core does now, instead of comparing."""
    parser.addoption("--rewrite", action="store_true", help="rewrite the golden transcripts in tests/transcripts")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, on a worker of its own: the broken cores."""
    items.sort(key=lambda item: item.path.name != "test_teeth.py")
