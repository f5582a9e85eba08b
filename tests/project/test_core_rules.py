"""The rules of the compiled core and of the floors, checked in the sources.

The core is deterministic and does no IO: it may import only what is listed here. A file imports only from floors below
its own or from its own floor (the table "Floors" of docs/design.md), and never in a circle; a compiled module has a
stub.
"""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.places import EXT, PACKAGE, ROOT

CORE = sorted(EXT.rglob("*.p[yx][xd]"))
PYTHON = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name not in ("__init__.py", "__main__.py")]
BUILT = sorted(PACKAGE.rglob("*.so"))
PACKAGES = sorted(path for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)

# What the core may import from elsewhere. No clock, no IO, no randomness, no logging, no threads.
ALLOWED = {
    "asyncio": {"CancelledError", "InvalidStateError", "_get_running_loop", "get_running_loop"},  # for a client's calls
    "cython": None,
    "libc.stdint": None,
    "libc.string": None,
    "libc.limits": None,
    "libc.math": {"log", "pow"},  # for loads, whose draws may differ between machines
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
    "enum": None,
    "hashlib": None,
    "json": {"dumps", "loads"},
    "math": None,
    "struct": None,
    "types": {"GenericAlias"},
}
HEADERS = {"*", "Python.h", "string.h", "stdint.h", "stdlib.h"}
FORBIDDEN_CALLS = re.compile(r"\b(open|print|input|eval|exec|compile|__import__)\(")
# The only modules of the Python side that the core may import: definitions.
OUTSIDE = {"multipaxos.errors", "multipaxos.machine.state_machine"}


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
    """Names of the built-ins that are called; methods of the same name and definitions do not count."""
    return FORBIDDEN_CALLS.findall(re.sub(r"(?m)^\s*(cdef|cpdef|def)\b[^(]*\(|\.\w+\(", "", code))


def python_imports(path):
    """Modules of the package that a Python file imports, also where only a type checker sees the import."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "multipaxos":
            yield from (f"multipaxos.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


def name_of(path):
    """The module's name inside the package, such as `node.journal` and `simulation.world`."""
    root = EXT if path.suffix in (".pyx", ".pxd") else PACKAGE
    return ".".join(path.relative_to(root).with_suffix("").parts)


def inside(path, known):
    """Names of the package's own modules that a file imports, without itself."""
    found = python_imports(path) if path.suffix == ".py" else (module for module, _ in core_imports(path))
    dotted = {module.removeprefix("multipaxos.") for module in found if module.startswith("multipaxos.")}
    return {name if name in known else name.rpartition(".")[0] for name in dotted} & known - {name_of(path)}


def floors():
    """{module or folder: floor} of the table in docs/design.md: the names in backticks outside parentheses."""
    table = re.findall(r"(?m)^\|\s*(\d+)\s*\|(.*)\|\s*$", (ROOT / "docs" / "design.md").read_text(encoding="utf-8"))
    return {
        name: int(floor)
        for floor, cells in table
        for name in re.findall(r"`([\w.]+)`", re.sub(r"\([^()]*\)", "", cells))
    }


def floor_of(name, table):
    """A module's own row, else its folder's."""
    assert name in table or name.partition(".")[0] in table, f"{name} has no floor: add it to docs/design.md"
    return table[name] if name in table else table[name.partition(".")[0]]


def upward_imports(paths, table):
    """(module, what it imports from a higher floor), for each such import."""
    known = {name_of(path) for path in paths}
    return [
        (name_of(path), name)
        for path in paths
        for name in sorted(inside(path, known))
        if floor_of(name, table) > floor_of(name_of(path), table)
    ]


def circle_of(paths):
    """A circle of imports, or nothing. It is searched file by file: a .pyx may use a .pxd that uses the .pyx's own
    .pxd, as C files do with headers."""
    known = {name_of(path) for path in paths}
    headers = {name_of(path) for path in paths if path.suffix == ".pxd"}
    graph = {}
    for path in paths:
        own = name_of(path)
        used = {f"{name}.pxd" if path.suffix != ".py" and name in headers else name for name in inside(path, known)}
        own_header = {f"{own}.pxd"} if path.suffix == ".pyx" and own in headers else set()
        graph[f"{own}.pxd" if path.suffix == ".pxd" else own] = used | own_header
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def label(path):
    return name_of(path) + path.suffix


@pytest.mark.parametrize("path", CORE, ids=label)
def test_the_core_imports_only_what_is_listed(path):
    for module, names in core_imports(path):
        if module.startswith("multipaxos."):
            compiled = module.removeprefix("multipaxos.") in {name_of(other) for other in CORE}
            assert compiled or module in OUTSIDE, f"{path.name} imports {module}"
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


@pytest.mark.parametrize("path", BUILT, ids=lambda path: path.name.partition(".")[0])
def test_no_generator_is_compiled(path):
    """Each module with one would carry Cython's implementation of them: see setup.py."""
    assert re.search(rb"_cython_\w+\.generator", path.read_bytes()) is None


def test_imports_go_down_the_floors():
    assert upward_imports([*CORE, *PYTHON], floors()) == []


def test_no_circles():
    assert circle_of([*CORE, *PYTHON]) == []


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: path.parent.name)
def test_a_folder_imports_nothing_and_says_that_it_is_private(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert "Private: " in ast.get_docstring(tree)
    assert not any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(tree))


@pytest.mark.parametrize("path", [path for path in CORE if path.suffix == ".pyx"], ids=label)
def test_what_is_compiled_has_stubs(path):
    assert (PACKAGE / path.relative_to(EXT).with_suffix(".pyi")).is_file()


# -- the checks find what they are made to find


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


def made_up(tmp_path, monkeypatch, sources):
    """A package of these files, as if it were ours; returns their paths."""
    monkeypatch.setattr("tests.project.test_core_rules.EXT", tmp_path)
    monkeypatch.setattr("tests.project.test_core_rules.PACKAGE", tmp_path)
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return [tmp_path / name for name in sources]


@pytest.mark.parametrize(
    ("low", "line"),
    [
        ("low/a.py", "from multipaxos.high.b import thing\n"),
        ("low/a.py", "def later():\n    import multipaxos.high.b\n"),
        ("low/a.py", "if TYPE_CHECKING:\n    from multipaxos.high.b import Thing\n"),
        ("low/a.pyx", "from multipaxos.high.b import thing\n"),
        ("low/a.pyx", "from multipaxos.high.b cimport Thing\n"),
        ("low/a.pxd", "from multipaxos.high.b cimport (\n    Thing,\n)\n"),
        ("low/a.pxd", "cimport multipaxos.high.b\n"),
    ],
)
def test_an_import_from_above_is_found(tmp_path, monkeypatch, low, line):
    paths = made_up(tmp_path, monkeypatch, {low: line, f"high/b{Path(low).suffix}": ""})
    assert upward_imports(paths, {"low": 1, "high": 2}) == [("low.a", "high.b")]
    assert upward_imports(paths, {"low": 2, "high": 1}) == []


@pytest.mark.parametrize(
    "sources",
    [
        {"low/a.py": "from multipaxos.low.b import x\n", "low/b.py": "from multipaxos.low.a import x\n"},
        {
            "low/a.py": "from multipaxos.low.b import x\n",
            "low/b.py": "if TYPE_CHECKING:\n    from multipaxos.low.a import X\n",
        },
        {"low/a.pxd": "from multipaxos.low.b cimport X\n", "low/b.pxd": "from multipaxos.low.a cimport X\n"},
        {"low/a.pyx": "from multipaxos.low.b import x\n", "low/b.py": "from multipaxos.low.a import x\n"},
    ],
    ids=["python", "for a type checker", "headers", "both sides"],
)
def test_a_circle_is_found(tmp_path, monkeypatch, sources):
    paths = made_up(tmp_path, monkeypatch, sources)
    assert {name.removesuffix(".pxd") for name in circle_of(paths)} == {"low.a", "low.b"}


def test_a_module_without_a_floor_is_found():
    with pytest.raises(AssertionError, match=r"attic\.box has no floor"):
        floor_of("attic.box", {"low": 1})


def test_the_table_of_floors_is_read():
    table = floors()
    assert floor_of("errors", table) == 0
    assert floor_of("wire.codec", table) < floor_of("paxos.acceptor", table) < floor_of("node.node", table)
    assert floor_of("client.session", table) < floor_of("client.client", table)
    assert floor_of("node.node", table) < floor_of("server.server", table) < floor_of("cli.main", table)
