"""Options and order of the tests."""

import pytest
from hypothesis import settings

# A busy machine makes a test slow, which is no failure: pytest-timeout ends a test that hangs.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

MUTATION = "simulation/test_mutation.py"
# Files that take longest, in this order: they begin first, so that a worker does not end with one of them alone.
LONGEST = [
    MUTATION,
    "project/test_packaging.py",
    "server/test_cluster.py",
    "torture/test_torture.py",
    "simulation/test_report.py",
    "simulation/test_world.py",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rewrite` replaces the golden transcripts by what the core does now, instead of comparing."""
    parser.addoption("--rewrite", action="store_true", help="rewrite the golden transcripts in tests/transcripts")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of LONGEST first; the others stay in the order they have, which `make test SEED=N` has made random."""
    items.sort(key=place)


def place(item: pytest.Item) -> int:
    """The place of the test's file in LONGEST, or one after the last."""
    name = "/".join(item.path.parts[-2:])
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says which mutants were run, because `make test` runs only some of them."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    names = [report.nodeid.partition(f"{MUTATION}::test_found[")[2].removesuffix("]") for report in reports]
    if any(names):
        terminalreporter.section("mutants that were run; make mutants runs all")
        terminalreporter.write_line(", ".join(sorted(filter(None, names))))
