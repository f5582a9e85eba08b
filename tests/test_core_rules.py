"""The house rules of the compiled core and of the floors, read from the sources.

The core is deterministic and does no IO: it may import only what is listed here. Files import downwards, as
the table "Floors" of docs/design.md has it, and what is compiled has stubs.
"""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = sorted((ROOT / "ext" / "multipaxos").glob("*.p[yx][xd]"))
PACKAGE = ROOT / "src" / "multipaxos"
PYTHON = [
    path for path in sorted(PACKAGE.rglob("*.py")) if path not in (PACKAGE / "__init__.py", PACKAGE / "__main__.py")
]

# What the core may use of others. No clock, no IO, no randomness, no logging, no threads.
ALLOWED = {
    "cython": None,
    "libc.stdint": None,
    "libc.string": None,
    "libc.limits": None,
    "libc.math": {"log", "pow"},  # for loads, whose draws need not be the same on every machine
    "libc.stdlib": {"malloc", "calloc", "realloc", "free", "qsort"},
    "cpython.buffer": None,
    "cpython.bytearray": None,
    "cpython.bytes": None,
    "cpython.dict": None,
    "cpython.list": None,
    "cpython.mem": None,
    "cpython.object": None,
    "cpython.ref": None,
    "cpython.tuple": None,
    "cpython.unicode": None,
    "collections": None,
    "collections.abc": None,
    "hashlib": None,
    "json": {"dumps", "loads"},
    "math": None,
    "struct": None,
}
HEADERS = {"*", "Python.h", "string.h", "stdint.h", "stdlib.h"}
FORBIDDEN_CALLS = re.compile(r"\b(open|print|input|eval|exec|compile|__import__)\(")
OUTSIDE = {"errors", "statemachine"}  # definitions: all that the core may import of the Python side


def code_of(path):
    """The source without comments and docstrings, statements in brackets on one line."""
    text = re.sub(r'("""|\'\'\')(?s:.*?)\1', '""', path.read_text(encoding="utf-8"))
    text = re.sub(r"(?m)(^|\s)#.*$", r"\1", text)
    return re.sub(r"\(([^()]*)\)", lambda match: "(" + " ".join(match[1].split()) + ")", text)


def core_imports(path):
    """(module, names or None) of every import and cimport."""
    for line in code_of(path).splitlines():
        match = re.match(r"\s*from\s+([\w.]+)\s+c?import\s+\(?([^()]*)\)?", line)
        if match:
            names = [part.split(" as ")[0].strip() for part in match[2].split(",") if part.strip()]
            yield match[1], names
            continue
        match = re.match(r"\s*c?import\s+(.+)", line)
        if match:
            for part in match[1].split(","):
                yield part.split(" as ")[0].strip(), None


def forbidden_calls(code):
    """Names of the built-ins that are called; methods of that name and definitions are something else."""
    return FORBIDDEN_CALLS.findall(re.sub(r"(?m)^\s*(cdef|cpdef|def)\b[^(]*\(|\.\w+\(", "", code))


def python_imports(path):
    """Modules of the package that a Python file imports at run time."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in node.body
        for inner in ast.walk(child)
    }
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "multipaxos":
            yield from (f"multipaxos.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


def name_of(path):
    """The module's name inside the package, such as `node` and `simulation.world`."""
    if path in CORE:
        return path.stem
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def inside(path):
    """Names of the package's own modules that a file imports, itself left out."""
    found = (module for module, _ in core_imports(path)) if path in CORE else python_imports(path)
    dotted = {module.removeprefix("multipaxos.") for module in found if module.startswith("multipaxos.")}
    known = {name_of(other) for other in (*CORE, *PYTHON)}
    return {name if name in known else name.rpartition(".")[0] for name in dotted} & known - {name_of(path)}


def floors():
    """{module: floor} of the table in docs/design.md: the names in backticks outside parentheses."""
    table = re.findall(r"(?m)^\|\s*(\d)\s*\|(.*)\|\s*$", (ROOT / "docs" / "design.md").read_text(encoding="utf-8"))
    return {
        name: int(floor)
        for floor, cells in table
        for name in re.findall(r"`([\w.]+)`", re.sub(r"\([^()]*\)", "", cells))
    }


def label(path):
    return path.name if path in CORE else name_of(path)


@pytest.mark.parametrize("path", CORE, ids=label)
def test_the_core_imports_only_what_is_listed(path):
    for module, names in core_imports(path):
        if module.startswith("multipaxos."):
            compiled = module.split(".")[1] in {other.stem for other in CORE}
            assert compiled or module.split(".")[1] in OUTSIDE, f"{path.name} imports {module}"
            continue
        assert module in ALLOWED, f"{path.name} imports {module}, which is not on the core's list"
        if ALLOWED[module] is not None:
            assert names is not None, f"{path.name}: name what is imported from {module}"
            assert set(names) <= ALLOWED[module], f"{path.name} imports {names} from {module}"


@pytest.mark.parametrize("path", CORE, ids=label)
def test_the_core_does_no_io(path):
    code = code_of(path)
    assert not forbidden_calls(code)
    headers = set(re.findall(r"cdef extern from\s+[\"']?<?([\w.*/]+)", code))
    assert headers <= HEADERS, f"{path.name} declares C functions of {headers - HEADERS}"


@pytest.mark.parametrize("path", CORE, ids=label)
def test_no_includes_and_no_compile_time_defines(path):
    assert not re.findall(r"(?m)^\s*(include\s+[\"']|DEF\s+\w|IF\s+\w)", code_of(path))


@pytest.mark.parametrize("path", [*CORE, *PYTHON], ids=label)
def test_imports_go_down_the_floors(path):
    floor = floors()
    own = name_of(path)
    assert own in floor, f"{own} has no floor: add it to the table in docs/design.md"
    for name in inside(path):
        assert floor[name] <= floor[own], f"{own} (floor {floor[own]}) imports {name} from above"


def test_no_circles():
    """File by file: a .pyx may use a .pxd that uses its own .pxd, as C files do with headers."""
    headers = {path.stem for path in CORE if path.suffix == ".pxd"}
    graph = {}
    for path in (*CORE, *PYTHON):
        used = {name + ".pxd" if path in CORE and name in headers else name for name in inside(path)}
        own_header = {path.stem + ".pxd"} if path.suffix == ".pyx" and path.stem in headers else set()
        graph[path.name if path.suffix == ".pxd" else name_of(path)] = used | own_header
    assert set(TopologicalSorter(graph).static_order()) >= set(graph)


@pytest.mark.parametrize("path", [path for path in CORE if path.suffix == ".pyx"], ids=label)
def test_what_is_compiled_has_stubs(path):
    assert (ROOT / "src" / "multipaxos" / f"{path.stem}.pyi").is_file()


# -- the rules can be broken: they see what they are meant to see


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from libc.time cimport time\n", [("libc.time", ["time"])]),
        ("    import random as r, os\n", [("random", None), ("os", None)]),
        ("from libc.stdlib cimport (\n    free,\n    rand,\n)\n", [("libc.stdlib", ["free", "rand"])]),
        ('"""import os"""\n# import sys\nx = 1\n', []),
    ],
)
def test_imports_are_found(tmp_path, source, expected):
    path = tmp_path / "module.pyx"
    path.write_text(source)
    assert list(core_imports(path)) == expected


def test_calls_are_found():
    assert forbidden_calls("cdef int open(self) except -1\nself.open(1)\n") == []
    assert forbidden_calls("def f(x):\n    print(open(x))\n") == ["print", "open"]


def test_the_table_of_floors_is_read():
    floor = floors()
    assert floor["ballot"] == floor["config"] == 0
    assert floor["pmax"] == 1
    assert floor["acceptor"] == 2
    assert floor["node"] == floor["server"] == floor["simulation.world"] == 3
