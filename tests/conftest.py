"""Options of the tests."""

import pytest

MUTATION = "test_mutation.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rewrite` makes the golden transcripts what the core does now, instead of comparing."""
    parser.addoption("--rewrite", action="store_true", help="rewrite the golden transcripts in tests/transcripts")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that take longest begin first, on a worker of their own: the mutants."""
    items.sort(key=lambda item: item.path.name != MUTATION)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says which mutants were run, because `make test` runs only some of them."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    names = [report.nodeid.partition(f"{MUTATION}::test_found[")[2].removesuffix("]") for report in reports]
    if any(names):
        terminalreporter.section("mutants that were run; make mutants runs all")
        terminalreporter.write_line(", ".join(sorted(filter(None, names))))
