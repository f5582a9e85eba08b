"""The documents name things that exist: files behind links, messages, tests, methods.

Rules. A relative link leads to a file, and its fragment to a heading of it. In docs/protocol.md every message kind of
the schema has a row in the table of messages and an entry in the list below it, and that entry names every field that
the schema has. In backticks, files, `name.py::test` and `Class.method` are looked up in the source. A `make` target and
a `multipaxos` command that a document names exist. The operations of the key-value machine have the numbers that
docs/encodings.md says.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from multipaxos import commands
from multipaxos.cli.main import main as cli
from tests.simulation.mutants import SLIPS
from tests.support.places import ROOT

DOCUMENTS = [*sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*.md")), ROOT / "mininet" / "README.md"]
PROTOCOL = ROOT / "docs" / "protocol.md"
SCHEMA = ROOT / "src" / "multipaxos" / "wire" / "multipaxos.capnp"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
NAMED_TEST = re.compile(r"(tests/[\w/]+\.py)::([\w:]+)")
NAMED_FILE = re.compile(r"(?:tests|tools|bench|ext|src|docs|mininet)/(?:[\w/-]+\.\w+|[\w/-]*/)")
# For any X, Y and NAME.
PATTERN = re.compile(r"/[XY]\.|/[XY]/|test_Y\.|NAME\.")
MEMBER = re.compile(
    r"    (?:(?:async )?(?:def|cdef|cpdef) (?:inline )?(?:[\w*\[\]]+ )*\*?(?P<method>\w+)\(|(?P<attribute>\w+): )"
)
NAMED_METHOD = re.compile(r"([A-Z]\w+)\.([a-z_]\w*)")


def prose(document):
    """A document without its blocks of code."""
    return FENCED.sub("", document.read_text(encoding="utf-8"))


def slug(heading):
    """The fragment that a heading gets."""
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return kept.strip().replace(" ", "-")


def fragments(document):
    """The fragments of all headings of a document."""
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)}


def name(document):
    """The id of a document in the names of tests."""
    return str(document.relative_to(ROOT))


@cache
def known_tests(path):
    """Every test of a file, as `test` or `Class::test`."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)}
    return found


@cache
def members():
    """{class: its methods and attributes} of the package, compiled and not, and of the evaluation."""
    found = {}
    places = [ROOT / "ext", ROOT / "src", ROOT / "mininet"]
    sources = [path for place in places for path in place.rglob("*.py*") if path.suffix in (".py", ".pyx", ".pyi")]
    for source in sources:
        inside = None
        for line in source.read_text(encoding="utf-8").splitlines():
            if line and not line[0].isspace():
                begins = re.match(r"(?:cdef )?class (\w+)", line)
                inside = found.setdefault(begins[1], set()) if begins else inside if line[0] in ")]" else None
            elif inside is not None:
                match = MEMBER.match(line)
                inside |= {match["method"] or match["attribute"]} if match else set()
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_somewhere(document):
    broken = []
    for target in LINK.findall(prose(document)):
        if re.match(r"[a-z]+:", target):
            continue  # elsewhere on the web
        path, _, fragment = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (fragment and fragment not in fragments(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_files_named_exist(document):
    named = {found for code in CODE.findall(prose(document)) for found in NAMED_FILE.findall(code)}
    real = {path for path in named if not PATTERN.search(path)}
    assert [path for path in sorted(real) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_tests_named_exist(document):
    missing = []
    for file, test in NAMED_TEST.findall(prose(document)):
        path = ROOT / file
        if not path.exists() or test not in known_tests(path):
            missing.append(f"{file}::{test}")
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_methods_named_exist(document):
    missing = []
    for code in CODE.findall(prose(document)):
        for owner, method in NAMED_METHOD.findall(code):
            if owner in members() and method not in members()[owner]:
                missing.append(f"{owner}.{method}")
    assert missing == []


def code_of(document):
    """What a document sets as code: blocks, and what is in backticks."""
    text = document.read_text(encoding="utf-8")
    return "\n".join([*FENCED.findall(text), *CODE.findall(prose(document))])


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_make_targets_named_exist(document):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?m)^([a-z-]+):", makefile))
    assert set(re.findall(r"(?m)^(?:\$ )?make +([a-z-]+)", code_of(document))) - targets == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_commands_named_exist(document):
    named = re.findall(r"(?m)^(?:\$ )?multipaxos +([a-z-]+)", code_of(document))
    assert set(named) - set(cli.commands) == set()


CITED = re.compile(r'docs/(\w+\.md)`?[,;:]? (?:the section )?"([^"]+)"(?: and "([^"]+)")?')


def cited_sections():
    """(document, heading) of every section that sources, tests or transcripts cite by its name."""
    for folder in ("ext", "src", "tests", "bench", "tools", "mininet"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".pyx", ".pxd", ".pyi", ".txt", ".capnp") and path != Path(__file__):
                text = " ".join(path.read_text(encoding="utf-8").split())
                yield from ((document, one) for document, *cited in CITED.findall(text) for one in cited if one)


def test_sections_cited_exist():
    """A citation may leave out the first words of a heading."""
    cited = set(cited_sections())
    assert len(cited) > 5  # they are found
    headings = {name: fragments(ROOT / "docs" / name) for name, _ in cited}
    missing = [(name, one) for name, one in sorted(cited) if not any(f.endswith(slug(one)) for f in headings[name])]
    assert missing == []


# -- the table of messages


def schema_fields():
    """{message kind: fields of its struct} in the schema."""
    text = re.sub(r"#.*", "", SCHEMA.read_text(encoding="utf-8"))
    union = re.search(r"struct Message \{\s*union \{(.*?)\}", text, re.DOTALL)
    bodies = re.findall(r"struct (\w+) \{(.*?)\}", text, re.DOTALL)
    structs = {struct: set(re.findall(r"(\w+) @\d+", body)) for struct, body in bodies}
    return {kind: structs[struct] for kind, struct in re.findall(r"(\w+) @\d+ :(\w+);", union[1])}


def section(heading):
    """The lines of docs/protocol.md under a heading of the second level."""
    return PROTOCOL.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]


def message_fields():
    """{message kind: what its entry says of fields}: the list under the table of messages."""
    entries = re.split(r"(?m)^- \*\*`", section("4 Messages"))[1:]
    return {entry.partition("`")[0]: entry.partition("*Sent*")[0] for entry in entries}


def test_every_message_has_its_row_and_its_entry():
    rows = re.findall(r"(?m)^\| `(\w+)` \|", section("4 Messages"))
    assert rows == list(message_fields()) == list(schema_fields())


@pytest.mark.parametrize("kind", schema_fields())
def test_an_entry_names_every_field(kind):
    """A watermark stands for its three fields."""
    said = set(re.findall(r"\w+", message_fields()[kind]))
    if "watermark" in said:
        said |= {"decidedBallot", "decidedFirst", "decidedEnd"}
    assert schema_fields()[kind] - said == set()


# -- the encodings


def test_the_operations_of_the_store_are_numbered_as_they_are_encoded():
    encoded = {
        "create": [commands.create(b"k", b"v")],
        "update": [commands.update(b"k", b"v")],
        "put": [commands.put(b"k", b"v")],
        "get": [commands.get(b"k")],
        "remove": [commands.remove(b"k")],
        "cas": [commands.cas(b"k", b"old", b"new"), commands.cas(b"k", 1, b"new")],
        "scan": [commands.scan(b"k")],
        "transact": [commands.transact([], [commands.get(b"k")], [])],
    }
    text = (ROOT / "docs" / "encodings.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if re.match(r"\| \d `", line)]
    said = [(int(number), name) for row in rows for number, name in re.findall(r"(\d) `(\w+)`", row)]
    assert sorted(said) == sorted((one[0], name) for name, payloads in encoded.items() for one in payloads)


# -- the mutants


def test_the_table_of_mutants_is_complete():
    """Every mutant has its row, with no more seeds than it may take."""
    rows = section("8 How it is checked").split("| mutant |")[1]
    took = {name: int(seeds) for name, seeds in re.findall(r"(?m)^\| (.+?) \| (\d+) \|$", rows)}
    may_take = {slip.name: len(slip.seeds) for slip in SLIPS}
    assert set(took) == set(may_take)
    assert [name for name, seeds in took.items() if seeds > may_take[name]] == []


# -- the tables of modules in docs/design.md


def module_table(head):
    """{module: its row} of the table whose first head is this; a row may name several modules."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    rows = text.split(f"| {head} |")[1].split("\n\n")[0].splitlines()
    firsts = [row.split(" | ")[0] for row in rows]
    return {module: number for number, first in enumerate(firsts) for module in re.findall(r"`(\w+)`", first)}


def modules_in(folder):
    """Names of the modules and headers in a folder."""
    return {path.stem for path in (ROOT / folder).iterdir() if path.suffix in (".py", ".pyx", ".pxd")} - {"__init__"}


@pytest.mark.parametrize(
    ("head", "folder"),
    [
        ("organ, from the ground up", "ext/multipaxos/node"),
        ("file of the cast", "ext/multipaxos/paxos"),
        ("file of the simulation", "src/multipaxos/simulation"),
    ],
)
def test_a_table_names_every_module(head, folder):
    assert set(module_table(head)) == modules_in(folder)


def test_organs_use_only_those_that_stand_before_them():
    order = module_table("organ, from the ground up")
    for path in sorted((ROOT / "ext" / "multipaxos" / "node").glob("*.p[yx][xd]")):
        used = set(re.findall(r"multipaxos\.node\.(\w+)", path.read_text(encoding="utf-8"))) - {path.stem}
        assert [organ for organ in sorted(used) if order[organ] >= order[path.stem]] == [], path.name
