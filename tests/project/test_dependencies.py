"""docs/dependencies.md and CITATION.cff say the same as pyproject.toml.

Rules. A section of the page is an extra, or `Runtime`, or `Build`. A row begins with a library in backticks and its
range. Each library of an extra has exactly one row in the extra's section, and no row is there without its library.
"""

import re
import tomllib

import pytest

from tests.support.places import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PAGE = ROOT / "docs" / "dependencies.md"
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*(.*)")


def declared():
    """{section: {library: range}} of pyproject.toml."""
    project = PYPROJECT["project"]
    sections = {"Runtime": project["dependencies"], "Build": PYPROJECT["build-system"]["requires"]}
    sections |= project["optional-dependencies"]
    return {name: dict(REQUIREMENT.fullmatch(one).groups() for one in wanted) for name, wanted in sections.items()}


def documented():
    """{section: [(library, range)]} of docs/dependencies.md."""
    sections = re.split(r"(?m)^## (.+)$", PAGE.read_text(encoding="utf-8"))[1:]
    return {
        name: re.findall(r"(?m)^\| `([^`]+)` \| ([^|]+?) \|", text)
        for name, text in zip(sections[::2], sections[1::2], strict=True)
    }


def test_each_extra_has_its_section():
    assert set(documented()) == set(declared())


@pytest.mark.parametrize("section", declared())
def test_the_rows_of_a_section_are_its_dependencies(section):
    rows = documented()[section]
    assert len(rows) == len(dict(rows)), "a library has two rows"
    assert dict(rows) == declared()[section]


@pytest.mark.parametrize("section", declared())
def test_a_row_says_version_licence_and_purpose(section):
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert len(cells) == 5, line
            assert all(cells), line


# -- CITATION.cff


def citation():
    """{key: value} of the lines at the margin: all that is compared here, so that no reader of YAML is needed."""
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    return {key: value.strip("\"'") for key, value in re.findall(r"(?m)^([\w-]+): *(\S.*)$", text)}


def test_the_citation_names_what_the_package_is():
    said = citation()
    project = PYPROJECT["project"]
    assert said["title"].partition(":")[0] == project["name"]
    assert said["version"] == project["version"]
    assert said["license"] == project["license"]


def test_the_citation_has_what_its_format_requires():
    """CFF 1.2.0 requires these; the whole file was validated with cffconvert when it was written."""
    said = citation()
    assert said["cff-version"] == "1.2.0"
    assert said["type"] == "software"
    assert said["message"]
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"(?m)^authors:\n  - name: \S", text)
