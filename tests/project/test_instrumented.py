"""The instrumented builds, as far as testing them is cheap: what they consist of, what they need, that they can fail.

`make fuzz`, `make sanitize` and `make coverage` run them.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.places import ROOT

TARGETS = ("codec", "node", "cluster", "store", "session")


@pytest.fixture
def instrumented(tools: Callable[[str], ModuleType]) -> ModuleType:
    """tools/instrumented.py"""
    return tools("instrumented")


@pytest.fixture
def coverage(tools: Callable[[str], ModuleType]) -> ModuleType:
    """tools/coverage_of_core.py"""
    return tools("coverage_of_core")


@pytest.fixture
def reasons(tools: Callable[[str], ModuleType]) -> ModuleType:
    """tools/reasons.py"""
    return tools("reasons")


class TestBuilds:
    """tools/instrumented.py"""

    def test_directives_are_those_of_setup(self, instrumented: ModuleType) -> None:
        """They are read from its text, because to run it would build."""
        text = (ROOT / "setup.py").read_text(encoding="utf-8")
        for name, value in instrumented.directives().items():
            shown = f'"{value}"' if isinstance(value, str) else value
            assert f'"{name}": {shown},' in text
        assert instrumented.directives()["boundscheck"] is False

    def test_a_missing_compiler_is_named_with_the_command_that_installs_it(
        self, instrumented: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """The compiler is not on the path."""
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(instrumented.BuildFailed, match=r"apt-get update && apt-get install -y clang"):
            instrumented.compiler_of(instrumented.FUZZ)

    def test_tests_of_the_core_are_found_by_what_they_import(self, tools: Callable[[str], ModuleType]) -> None:
        """Tests that start processes or whole simulations are not among them."""
        found = {Path(path).stem for path in tools("core_tests").core_tests()}
        assert found >= {
            f"test_{name}"
            for name in ["acceptor", "codec", "founding", "journal", "leading", "load", "node", "paper", "key_value"]
        }
        assert not found & {"test_cluster", "test_server", "test_world", "test_storage", "test_instrumented"}

    def test_a_changed_module_is_built_beside_the_shipped_ones(self, instrumented: ModuleType, tmp_path: Path) -> None:
        """One rule is broken in a small module, and the copy shows it; so it does when it is built again in the same
        place, where the extension that ships is copied over the changed one."""
        source = (ROOT / "ext" / "multipaxos" / "node" / "election.pyx").read_text(encoding="utf-8")
        rule = "            self.state = 1\n"
        assert source.count(rule) == 1
        changed = {"node/election.pyx": source.replace(rule, "            self.state = 0\n")}
        for _ in range(2):
            library = instrumented.build_changed(tmp_path, changed)
        program = (
            "from multipaxos.node.election import Election; from multipaxos.paxos.quorum import QuorumSystem;"
            "election = Election(1000, 0x9E3779B97F4A7C15, QuorumSystem.majority([0]));"
            "print({election.random(1 << 40) for _ in range(9)})"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=instrumented.on_path(library),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "{0}\n"
        assert instrumented.is_made(
            library, "node/election", instrumented.fingerprint(library, "node/election", instrumented.PLAIN)
        )
        instrumented.copy_package(library, with_extensions=False)
        assert not instrumented.is_made(
            library, "node/election", instrumented.fingerprint(library, "node/election", instrumented.PLAIN)
        )

    def test_what_is_not_there_cannot_be_changed(self, instrumented: ModuleType, tmp_path: Path) -> None:
        """A wrong name must not give a build of the core as it ships."""
        with pytest.raises(instrumented.BuildFailed, match=r"no ext/multipaxos/node/nod\.pyx"):
            instrumented.build_changed(tmp_path, {"node/nod.pyx": ""})


class TestTargets:
    """tests/fuzz/, without atheris."""

    @pytest.mark.parametrize("target", TARGETS)
    def test_a_target_runs_its_seeds(self, target: str) -> None:
        """Its seeds are real frames, in every state; none of them is a finding."""
        module = importlib.import_module(f"tests.fuzz.fuzz_{target}")
        seeds = module.seeds()
        assert len(seeds) == len(set(seeds)) > 1
        for seed in seeds:
            module.run_one(seed)
        assert "atheris" not in sys.modules

    def test_all_targets_are_run(self, tools: Callable[[str], ModuleType]) -> None:
        """`make fuzz` runs all of them; each gets a share of the time."""
        assert sorted(tools("fuzzing").TARGETS) == sorted(TARGETS)
        assert all(seconds > 0 for seconds in tools("fuzzing").shares(1).values())
        assert {path.stem for path in (ROOT / "tests" / "fuzz").glob("fuzz_*.py")} == {
            f"fuzz_{target}" for target in TARGETS
        }

    def test_a_clients_bytes_may_not_end_a_node(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The target for nodes accepts an InvariantViolation only after a peer has sent something."""
        from multipaxos.errors import InvariantViolation
        from tests.fuzz import fuzz_node
        from tests.fuzz.states import STATES, leading

        def violated(attack: object) -> None:
            raise InvariantViolation("on purpose")

        monkeypatch.setattr(fuzz_node.Attack, "check", violated)
        state = STATES.index(leading)
        with pytest.raises(InvariantViolation):
            fuzz_node.run_one(bytes([state, 1, 0, 1]))
        fuzz_node.run_one(bytes([state, 0, 0, 0]))


MARKED_C = """static const char* const __pyx_f[] = {
  "multipaxos/paxos/pmax.pyx",
  "multipaxos/paxos/slots.pxd",
};
static int take(void) {
  __Pyx_TraceLine(5,1,0,__PYX_ERR(0, 5, __pyx_L1_error))
  __Pyx_TraceLine(9,1,0,__PYX_ERR(0, 9, __pyx_L4_error))
  /*finally:*/ {
  __Pyx_TraceLine(29,1,1,__PYX_ERR(1, 29, __pyx_L1_error))
}
static CYTHON_SMALL_CODE int __pyx_pymod_exec_pmax(PyObject *module)
#endif
{
  __Pyx_TraceLine(3,1,0,__PYX_ERR(0, 3, __pyx_L1_error))
}
"""


class TestCoverage:
    """tools/coverage_of_core.py"""

    def test_lines_of_functions_are_counted_and_no_others(self, coverage: ModuleType) -> None:
        """What runs at an import does not count, nor a mark that a return skips; inline functions of headers do."""
        assert coverage.lines_of(MARKED_C) == [coverage.Line("paxos/pmax.pyx", 5), coverage.Line("paxos/slots.pxd", 29)]
        counted = coverage.count_lines(MARKED_C)
        assert counted.count("reached[") == 2 + coverage.COUNTING.count("reached[")
        assert "reached[0] = 1; __Pyx_TraceLine(5," in counted
        assert "reached[1] = 1; __Pyx_TraceLine(29," in counted
        assert '"%s/paxos.pmax"' in counted

    def test_reasons_are_read_and_each_has_a_why(self, reasons: ModuleType) -> None:
        """A block is rows that name lines, then the reason."""
        text = "# no line\n*: raise MemoryError(\n= at its\n  end\n\nnode.pyx fetch: return 0\nslots.pxd: x\n~ why\n"
        assert reasons.read_reasons(text) == [
            reasons.Reason("*", "", "raise MemoryError(", "at its end"),
            reasons.Reason("node.pyx", "fetch", "return 0", "why", by_chance=True),
            reasons.Reason("slots.pxd", "", "x", "why", by_chance=True),
        ]
        with pytest.raises(SystemExit, match="have no reason"):
            reasons.read_reasons("node.pyx: x\n")

    def test_every_reason_is_about_lines_that_are_there(self, coverage: ModuleType) -> None:
        """`make coverage` compares the reasons with what was reached; this test compares them with the sources."""
        kept = coverage.read_reasons(coverage.REASONS.read_text(encoding="utf-8"))
        assert kept
        every = [
            coverage.Line(str(path.relative_to(coverage.CORE)), number)
            for path in sorted(coverage.CORE.rglob("*.p[yx][xd]"))
            for number in range(1, len(path.read_text(encoding="utf-8").splitlines()) + 1)
        ]
        _, _, stale = coverage.explain(every, kept)
        assert stale == []
        assert all(len(reason.why) > 20 for reason in kept)

    def test_a_missed_line_without_a_reason_fails_and_so_does_a_reason_without_one(
        self, coverage: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Some lines of functions in quorum.pyx, one of which is missed."""
        every = {coverage.Line("paxos/quorum.pyx", number) for number in range(86, 126)}
        missed = coverage.Line("paxos/quorum.pyx", 89)
        monkeypatch.setattr(coverage, "REASONS", tmp_path / "unreached.txt")
        coverage.REASONS.write_text("")
        with pytest.raises(SystemExit, match=r"paxos/quorum.pyx:89 is not reached"):
            coverage.report(every, every - {missed})
        row = (coverage.CORE / "paxos" / "quorum.pyx").read_text(encoding="utf-8").splitlines()[88].strip()
        coverage.REASONS.write_text(f"paxos/quorum.pyx: {row}\n= tried in a test, on purpose\n")
        coverage.report(every, every - {missed})
        assert "paxos/quorum.pyx:89" in capsys.readouterr().out
        with pytest.raises(SystemExit, match=r"is reached or does not exist"):
            coverage.report(every, every)
        coverage.REASONS.write_text(f"paxos/quorum.pyx: {row}\n~ reached by some tests, by chance\n")
        coverage.report(every, every)
        with pytest.raises(SystemExit, match=r"below 95 %"):
            coverage.report(every, {missed})

    def test_functions_of_lines(self, reasons: ModuleType) -> None:
        """A head on two lines, a method, a variable that is not a head."""
        head = "cdef int take(self,\n              int x) except -1:\n"
        text = head + "    cdef Bytes out = Bytes(0)\n    def get(self):\n        pass\n"
        assert reasons.functions_of(text) == ["take", "take", "take", "get", "get"]
