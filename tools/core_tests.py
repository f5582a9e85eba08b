"""Which test files are about the compiled core: those that the sanitized and the counted build run."""

from __future__ import annotations

import ast
from pathlib import Path

from instrumented import CORE, ROOT, modules

# Folders of tests that drive a whole core and have no folder of the same name in ext/multipaxos.
OF_A_WHOLE_CORE = {"specification", "transcripts"}
# A test file that imports one of these tests more than the core: processes, sockets, the whole simulator.
BEYOND_THE_CORE = {
    "multiprocessing",
    "socket",
    "subprocess",
    "tests.support.link_by_hand",
    "multipaxos.simulation.report",
}


def core_tests() -> list[str]:
    """The test files in the folders that the core has too, or of a whole core, that import compiled modules and
    nothing of BEYOND_THE_CORE; relative to the root."""
    compiled = {f"multipaxos.{name.replace('/', '.')}" for name in modules()} | {"tests.support.one_node"}
    folders = {path.name for path in CORE.iterdir() if path.is_dir()} | OF_A_WHOLE_CORE
    return [
        str(path.relative_to(ROOT))
        for folder in sorted(folders)
        for path in sorted((ROOT / "tests" / folder).rglob("test_*.py"))
        if (used := imports_of(path)) & compiled and not used & BEYOND_THE_CORE
    ]


def imports_of(path: Path) -> set[str]:
    """The modules that a Python file imports, and the packages that contain them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = ".".join(filter(None, (path.parent.name if node.level else None, node.module)))
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found | {name.rpartition(".")[0] for name in found}
