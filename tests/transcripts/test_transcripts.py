"""Every golden transcript says what the core does; `--rewrite` makes it so. And the runner finds the faults that it
should find.

pytest tests/transcripts/test_transcripts.py              compares and shows the difference
pytest tests/transcripts/test_transcripts.py --rewrite    rewrites; judge the difference, then tools/diagrams.py
"""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from multipaxos.errors import InvariantViolation
from multipaxos.wire import codec
from tests.transcripts import language as transcript_language
from tests.transcripts import stage as transcript_stage
from tests.transcripts.network import ScriptError
from tests.transcripts.transcript import Transcript, TranscriptError, paths, picture, play, run

LED = "> cluster 3 leader n0 clients alice@n0\n"


def compare(path: Path, *, rewrite: bool = False) -> None:
    """Fails with the difference between a transcript and what the core does, or rewrites it."""
    old, new = path.read_text(encoding="utf-8"), play(path)
    if rewrite:
        if old != new:
            path.write_text(new, encoding="utf-8")
    elif old != new:
        names = f"{path.name}, kept", "the core now"
        lines = difflib.unified_diff(old.splitlines(), new.splitlines(), *names, lineterm="")
        pytest.fail(
            "\n".join([*lines, "", "rewrite with: pytest tests/transcripts/test_transcripts.py --rewrite"]),
            pytrace=False,
        )


@pytest.mark.parametrize("path", paths(), ids=lambda path: path.stem)
def test_the_core_does_what_the_transcript_says(path: Path, request: pytest.FixtureRequest) -> None:
    compare(path, rewrite=request.config.getoption("rewrite"))


def test_what_the_docs_refer_to_is_there() -> None:
    wanted = {"single_decree", "steady_state", "scout", "preemption", "duel", "failover", "gap_and_noop"}
    wanted |= {"slot_conflict", "lost_reply", "catch_up"}
    assert wanted <= {path.stem for path in paths()}


@pytest.mark.parametrize("path", paths(), ids=lambda path: path.stem)
def test_a_transcript_explains_itself(path: Path) -> None:
    """A paragraph before the first directive says what it shows and where that comes from."""
    before = path.read_text(encoding="utf-8").partition("\n> ")[0]
    assert any(source in before for source in ("PMMC", "Paxos Made Simple", "docs/design.md", "Flexible Paxos"))


# == the runner


@pytest.fixture
def script(tmp_path: Path):
    """Writes a transcript."""

    def write(text: str) -> Path:
        path = tmp_path / "case.txt"
        path.write_text(f"A case\n======\n\n{text}", encoding="utf-8")
        return path

    return write


def written(path: Path) -> Path:
    """A transcript, with its traces."""
    compare(path, rewrite=True)
    return path


class TestComparing:
    """A transcript that does not say what the core does is found, and changed only with `--rewrite`."""

    def test_a_trace_is_written_once_and_holds_then(self, script) -> None:
        path = written(script(LED + "> alice sends x=1\n"))
        text = path.read_text()
        assert "n0 -> n1  phase2a 1.0 slot 2: x=1; decided 1\n" in text
        compare(path)
        assert path.read_text() == text

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("phase2a 1.0 slot 2: x=1", "phase2a 1.0 slot 2: x=2"),
            ("    n0 applied", "    n1 applied"),
            ("      3.5  n0 <- n1", "      3.0  n0 <- n1"),
            ("             n2 <- n0  phase2a\n", ""),
            ("> alice sends x=1", "> alice sends x=2"),
        ],
        ids=["a message", "an event", "a time", "a line", "a directive"],
    )
    def test_a_changed_transcript_fails_with_a_difference(self, script, old: str, new: str) -> None:
        path = written(script(LED + "> alice sends x=1\n"))
        text = path.read_text()
        changed = text.replace(old, new, 1)
        assert changed != text
        path.write_text(changed)
        with pytest.raises(pytest.fail.Exception, match=r"(?s)--- case.txt, kept.*\n[-+] .*--rewrite"):
            compare(path)
        assert path.read_text() == changed

    def test_a_core_that_does_something_else_fails(self, script, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every vote of a node is lost before it leaves: the trace shows that."""
        path = written(script(LED + "> alice sends x=1\n"))
        send = transcript_stage.Stage.send

        def without_votes(stage, source: str, target: str, frame: bytes) -> None:
            if source != "n2" or codec.decode_message(frame)["kind"] != "phase2b":
                send(stage, source, target, frame)

        monkeypatch.setattr(transcript_stage.Stage, "send", without_votes)
        with pytest.raises(pytest.fail.Exception, match=r"-.*n2 -> n0  phase2b 1.0 slot 2"):
            compare(path)

    def test_prose_and_headers_stay_as_they_are(self, script) -> None:
        prose = "draw: applied\n\nSome words: with a colon.\n\n* not a directive\n\n"
        text = written(script(prose + LED + "\nAnd more.\n")).read_text()
        assert prose in text
        assert text.endswith("\n\nAnd more.\n")

    def test_the_same_script_gives_the_same_trace(self, script) -> None:
        path = script(LED + "> n1 times out\n> alice sends x=1\n> n0 crashes\n> wait 900 ms\n")
        assert play(path) == play(path)


class TestErrors:
    """A script that cannot be done says where and why."""

    @pytest.mark.parametrize(
        ("directives", "line", "said"),
        [
            (LED + "> alice sings x=1\n", 5, "unknown directive 'alice sings x=1'"),
            (LED + "\nWords.\n\n> wait for ever\n", 8, "unknown directive 'wait for ever'"),
            ("> cluster three\n", 4, "begins with 'cluster N', not with 'cluster three'"),
            (LED + "> n3 crashes\n", 5, "no node 'n3', only n0, n1, n2"),
            (LED + "> bob sends x=1\n", 5, "no client 'bob': it has to connect first"),
            (LED + "> deliver phase2a n0 -> n1\n", 5, "no message phase2a n0 -> n1 is held; held are: nothing"),
            (
                LED + "> hold phase2a n0 -> n1\n> alice sends x=1\n> deliver phase2a n0 -> n2\n",
                7,
                "no message phase2a n0 -> n2 is held; held are: n0 -> n1  phase2a 1.0 slot 2: x=1; decided 1",
            ),
            (LED + "> drop phase1a n1 -> *\n", 5, "no message phase1a n1 -> * is held"),
            (LED + "> repeat phase2b n1 -> n0\n", 5, "no message phase2b n1 -> n0 was sent yet"),
            (LED + "> hold phase3 n0 -> n1\n", 5, "'phase3' is no kind of message"),
            (LED + "> lose phase2a n0 -> n9\n", 5, "'n9' is nobody here; there are alice, n0, n1, n2"),
            (LED + "> hold phase2a\n", 5, "'phase2a' names no message: write KIND SOURCE -> TARGET"),
            (LED + "> heal phase2a n0 -> n1\n", 5, "no rule 'phase2a n0 -> n1' is in force to be healed"),
            (LED + "> cut n1\n> heal n2\n", 6, "no rule 'n2' is in force to be healed; there are: n1"),
            (LED + "> n0 times out\n", 5, "n0 leads or scouts already: it has no time-out"),
            (LED + "> n1 crashes\n> n1 crashes\n", 6, "n1 is down"),
            (LED + "> n1 restarts\n", 5, "n1 is up: it has to crash first"),
            (LED + "> n1's disk goes on\n", 5, "n1's disk does not stall"),
            (LED + "> n1's disk fails\n", 5, "n1's disk has nothing to sync that could fail"),
            (LED + "> alice repeats\n", 5, "alice has all answers"),
            (LED + "> show phase1a\n", 5, "phase1a: only founding, ping, pong have to be asked for"),
            (LED + "> unlink n0 n0\n", 5, "n0 and n0 are not linked"),
            (LED + "> wait 60001 ms\n", 5, "a wait is at most 60000 ms"),
            ("> cluster 3 roles n3=leader\n", 4, "nodes are n0 to n2, roles are replica, leader, acceptor"),
            ("> cluster 3 quorum 1 2\n", 4, "need not intersect"),
        ],
    )
    def test_the_file_and_the_line_are_named(self, script, directives: str, line: int, said: str) -> None:
        with pytest.raises(TranscriptError) as caught:
            play(script(directives))
        assert str(caught.value).startswith(f"case.txt:{line}: ")
        assert said in str(caught.value)

    def test_a_file_without_a_title_or_directives_is_refused(self, script) -> None:
        with pytest.raises(TranscriptError, match=r"case.txt:4: no directive"):
            Transcript.read(script("Words."))
        path = script(LED)
        path.write_text(LED)
        with pytest.raises(TranscriptError, match=r"case.txt:1: .*title"):
            Transcript.read(path)

    def test_a_picture_of_a_stretch_that_is_not_there(self, script) -> None:
        with pytest.raises(TranscriptError, match="draw from: no directive 'n1 crashes'"):
            picture(script("draw from: n1 crashes\n\n" + LED))

    def test_a_script_that_never_becomes_quiet_ends(self, script, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transcript_stage, "EVENTS_MAX", 50)
        with pytest.raises(TranscriptError, match="not quiet after 50 events"):
            play(script(LED + "> wait 5000 ms\n"))


class TestJudging:
    """Invariants are checked after every wake-up."""

    def test_a_node_that_breaks_an_invariant_is_found(self, script, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(stage) -> None:
            if stage.trace.step:
                raise InvariantViolation("C2: as if")

        monkeypatch.setattr(transcript_stage.Stage, "check", broken)
        with pytest.raises(TranscriptError, match=r"case.txt:5: C2: as if"):
            play(script(LED + "> alice sends x=1\n"))

    def test_every_node_that_lives_is_asked(self, script) -> None:
        stage = run(Transcript.read(script(LED + "> n2 crashes\n")))
        asked = []

        class Asked:
            def __init__(self, name: str) -> None:
                self.name = name

            def invariants(self) -> None:
                asked.append(self.name)

        for actor in stage.actors.values():
            if actor.core is not None:
                actor.core = Asked(actor.name)
        stage.check()
        assert asked == ["n0", "n1"]

    def test_two_commands_in_one_slot_are_found(self, script) -> None:
        stage = run(Transcript.read(script(LED)))
        stage.agree("n0", 9, (1, 1, 1, b"x"))
        stage.agree("n1", 9, (1, 1, 1, b"x"))
        with pytest.raises(AssertionError, match=r"n0 applied .* in slot 9, n2 applied"):
            stage.agree("n2", 9, (1, 1, 1, b"y"))


class TestLanguage:
    """What directives do that no golden transcript shows."""

    def trace(self, path: Path) -> str:
        return written(path).read_text()

    def test_a_message_that_is_dropped_never_arrives(self, script) -> None:
        text = self.trace(script(LED + "> hold phase2a n0 -> n1\n> alice sends x=1\n> drop phase2a n0 -> n1\n> heal\n"))
        assert "n0 -> n1  phase2a 1.0 slot 2: x=1; decided 1  (held)" in text
        assert "n0 -> n1  phase2a 1.0 slot 2: x=1; decided 1  (lost)" in text
        assert "n1 <- n0  phase2a" not in text

    def test_a_held_message_whose_link_broke_is_lost(self, script) -> None:
        text = self.trace(
            script(LED + "> hold phase2b n1 -> n0\n> alice sends x=1\n> unlink n0 n1\n> deliver phase2b n1 -> n0\n")
        )
        assert "n0 <- n1  phase2b  (lost: the link is gone)" in text

    def test_messages_that_are_held_keep_their_order(self, script) -> None:
        text = self.trace(
            script(LED + "> hold phase2a n0 -> n2\n> alice sends x=1\n> alice sends x=2\n> deliver * n0 -> n2\n")
        )
        assert text.index("n2 <- n0  phase2a 1.0 slot 2") < text.index("n2 <- n0  phase2a 1.0 slot 3")

    def test_pings_show_when_they_are_asked_for(self, script) -> None:
        assert "ping" not in self.trace(script(LED + "> wait 300 ms\n"))
        assert "n1 -> n0  ping 1.0 out 2" in self.trace(script(LED + "> show ping\n> wait 300 ms\n"))

    def test_a_cut_node_still_receives_from_its_clients(self, script) -> None:
        text = self.trace(script(LED + "> cut n0\n> alice sends x=1\n"))
        assert "n0 <- alice  request" in text
        assert "n0 -> n1  phase2a 1.0 slot 2: x=1; decided 1  (lost)" in text

    def test_roles_and_grids(self, script) -> None:
        """n4 is not an acceptor: it learns and does not vote; a column of the grid decides."""
        text = self.trace(
            script("> cluster 5 quorum grid 2 2 roles n4=replica leader n0 clients alice@n0\n> alice sends x=1\n")
        )
        assert "n4 applied slot 2: x=1" in text
        assert "n4 -> n0  phase2b" not in text

    def test_links_come_and_go(self, script) -> None:
        text = self.trace(script(LED + "> unlink n0 n1\n> alice sends x=1\n> link n0 n1\n"))
        assert "n1 applied slot 2: x=1" in text
        assert text.index("> link n0 n1") < text.index("n1 applied slot 2: x=1")

    def test_every_directive_is_in_the_docstring(self) -> None:
        """The table of the language is complete."""
        known = transcript_language.__doc__ or ""
        for _, act in transcript_language.DIRECTIVES:
            name = act.__name__.replace("_", " ")
            assert name in known, name

    def test_a_clock_that_stands_still_is_late(self, script) -> None:
        stage = run(Transcript.read(script(LED + "> n1 times out\n")))
        assert stage.actors["n1"].clock_ns() > stage.actors["n2"].clock_ns()

    def test_an_unknown_pattern_is_a_script_error(self) -> None:
        with pytest.raises(ScriptError):
            transcript_language.begin("cluster 0x3")
