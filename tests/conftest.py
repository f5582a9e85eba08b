"""Options of the tests."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rewrite` makes the golden transcripts what the core does now, instead of comparing."""
    parser.addoption("--rewrite", action="store_true", help="rewrite the golden transcripts in tests/transcripts")
