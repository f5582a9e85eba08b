"""A client's side of a session: links lose, repeat and break, and in the end every command has one answer."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multipaxos.client.session import Session
from multipaxos.machine.python_machine import PythonMachine
from multipaxos.machine.semantics import Semantics
from multipaxos.machine.user_machine import runner_of
from multipaxos.paxos.session_table import SessionTable
from multipaxos.wire import codec
from multipaxos.wire.codec import CodecError
from tests.support.journal import Journal

OK, REFUSED, OPENED, AHEAD, EXPIRED, OVERLOADED, ACKNOWLEDGED = range(7)
APPLY, OPEN_SESSION = codec.CommandKind.APPLY, codec.CommandKind.OPEN_SESSION
CLOSE_SESSION = codec.CommandKind.CLOSE_SESSION


class Cluster:
    """The replicated side, as one object: applies commands in the order in which they come, one in each slot."""

    def __init__(self, sessions_max: int = 64) -> None:
        self.journal = Journal()
        self.machine = PythonMachine(runner_of(self.journal), inside=True)
        self.sessions = SessionTable(Semantics(sessions_max=sessions_max))
        self.slot = 0

    def answer(self, request: bytes) -> list[bytes]:
        """The responses to one request."""
        out = []
        for command in codec.decode_message(request)["commands"]:
            self.slot += 1
            status, session, slot, data = self.sessions.apply_command(
                self.machine,
                self.slot,
                command["session"],
                command["sequence"],
                command["unacknowledged"],
                command["payload"],
                command["kind"],
                command["nonce"],
            )
            out.append(codec.encode_response(session, [(command["sequence"], slot, status, data)]))
        return out


def test_the_commands_of_an_admins_session_are_settings() -> None:
    session = Session(99, 16, settings=True)
    session.connected()
    [opening] = codec.decode_message(session.output())["commands"]
    assert opening["kind"] == OPEN_SESSION
    session.receive(codec.encode_response(7, [(99, 7, OPENED, b"")]))
    session.submit(b"payload")
    [command] = codec.decode_message(session.output())["commands"]
    assert (command["kind"], command["session"], command["sequence"]) == (codec.CommandKind.SETTING, 7, 1)


def opened(capacity: int = 16) -> tuple[Session, Cluster]:
    """A session that the cluster has opened."""
    session, cluster = Session(99, capacity), Cluster()
    session.connected()
    for response in cluster.answer(session.output()):
        assert session.receive(response) == []
    assert session.id == 1
    return session, cluster


def test_commands_wait_for_the_opening() -> None:
    session = Session(99)
    session.connected()
    assert session.submit(b"a") == 1
    (frame,) = codec.split(session.output())[0]
    (opening,) = codec.decode_message(frame)["commands"]
    assert (opening["kind"], opening["sequence"]) == (OPEN_SESSION, 99)
    assert session.output() == b""


def test_an_answer_counts_once() -> None:
    session, cluster = opened()
    session.submit(b"a")
    (response,) = cluster.answer(session.output())
    assert session.receive(response) == [(1, OK, 2, bytes(8))]
    assert session.receive(response) == []
    assert (session.unanswered, session.acknowledged) == (0, 1)


def test_answers_out_of_order_hold_the_acknowledgement() -> None:
    session, cluster = opened()
    for payload in (b"a", b"b", b"c"):
        session.submit(payload)
    first, second, third = cluster.answer(session.output())
    session.receive(third)
    assert (session.unanswered, session.acknowledged) == (2, 0)
    session.receive(first)
    assert session.acknowledged == 1
    session.receive(second)
    assert session.acknowledged == 3


def test_a_new_link_gets_everything_unanswered_in_order() -> None:
    session, cluster = opened()
    for payload in (b"a", b"b", b"c"):
        session.submit(payload)
    responses = cluster.answer(session.output())
    session.receive(responses[1])
    session.connected()
    (frame,) = codec.split(session.output())[0]
    assert [(c["sequence"], c["payload"]) for c in codec.decode_message(frame)["commands"]] == [(1, b"a"), (3, b"c")]


@pytest.mark.parametrize("status", [AHEAD, OVERLOADED])
def test_void_is_sent_again_from_the_first(status: int) -> None:
    session, _ = opened()
    session.submit(b"a")
    session.submit(b"b")
    session.output()
    session.receive(codec.encode_response(1, [(2, 5, status, b"")]))
    assert session.rewind_wanted
    session.rewind()
    (frame,) = codec.split(session.output())[0]
    assert [c["sequence"] for c in codec.decode_message(frame)["commands"]] == [1, 2]


def test_expired_ends_it() -> None:
    session, _ = opened()
    session.submit(b"a")
    session.output()
    session.receive(codec.encode_response(1, [(1, 5, EXPIRED, b"")]))
    assert session.expired
    assert session.output() == b""


def test_room_is_bounded() -> None:
    session, _ = opened(4)
    assert [session.submit(b"x") for _ in range(6)] == [1, 2, 3, 4, 0, 0]
    with pytest.raises(ValueError, match="power of two"):
        Session(1, 3)


def test_answers_of_others_are_not_ours() -> None:
    session, _ = opened()
    session.submit(b"a")
    session.output()
    for frame in (
        codec.encode_response(2, [(1, 5, OK, b"")]),
        codec.encode_response(1, [(7, 5, OK, b"")]),
        codec.encode_response(0, [(1, 5, OK, b"")]),
    ):
        assert session.receive(frame) == []
    assert session.unanswered == 1


def test_noise_is_an_error_and_a_new_link_goes_on() -> None:
    session, cluster = opened()
    session.submit(b"a")
    session.output()
    with pytest.raises(CodecError):
        session.receive(b"\xff" * 40)
    session.connected()
    (response,) = cluster.answer(session.output())
    assert session.receive(response)[0][0] == 1


def test_frames_cut_anywhere() -> None:
    session, cluster = opened()
    for payload in (b"a" * 100, b"b", b"c"):
        session.submit(payload)
    data = b"".join(cluster.answer(session.output()))
    replies = [reply for i in range(len(data)) for reply in session.receive(data[i : i + 1])]
    assert [reply[0] for reply in replies] == [1, 2, 3]


def test_large_commands_are_split_over_requests() -> None:
    session, _ = opened()
    for _ in range(5):
        session.submit(b"x" * 200_000)
    frames, rest = codec.split(session.output())
    assert rest == b""
    assert len(frames) > 1


def in_steps(count: int) -> tuple[Session, Cluster]:
    """An open session that sends in steps, with so many commands of 200,000 bytes."""
    session, cluster = Session(99, 16, in_steps=True), Cluster()
    session.connected()
    for response in cluster.answer(session.output()):
        session.receive(response)
    for _ in range(count):
        session.submit(b"x" * 200_000)
    return session, cluster


def test_a_new_link_gets_one_request_until_it_answers() -> None:
    session, cluster = in_steps(6)
    for _ in range(2):
        first = session.output()
        assert (len(codec.split(first)[0]), session.sent) == (1, 2)
        assert session.output() == b""
        session.connected()  # the node was left: no more than one request went to it
    for response in cluster.answer(session.output()):
        session.receive(response)
    steps = [len(codec.decode_message(session.output())["commands"]) for _ in range(2)]
    assert (steps, session.sent, session.output()) == ([2, 2], 6, b"")


def test_what_would_be_ahead_is_not_sent() -> None:
    session, _ = opened()
    session.submit(b"a")
    session.output()
    session.receive(codec.encode_response(1, [(1, 0, OVERLOADED, b"")]))
    session.submit(b"b")
    assert session.output() == b""
    session.rewind()
    assert [c["sequence"] for c in codec.decode_message(session.output())["commands"]] == [1, 2]


def sequences(out: bytes) -> list[int]:
    """Of the commands in some requests."""
    return [c["sequence"] for frame in codec.split(out)[0] for c in codec.decode_message(frame)["commands"]]


@pytest.mark.parametrize(("commands", "size"), [(3, 1 << 30), (1000, 3500)])
def test_no_more_is_sent_than_the_window_holds(commands: int, size: int) -> None:
    """Each answer lets the next one out; after a rewind the window is counted anew."""
    session, cluster = opened()
    for _ in range(8):
        session.submit(b"x" * 1000)
    session.set_window(commands, size)
    first = session.output()
    assert (sequences(first), session.sent, session.sent_bytes, session.output()) == ([1, 2, 3], 3, 3000, b"")
    responses = cluster.answer(codec.split(first)[0][0])
    session.receive(responses[1])
    assert (session.sent_bytes, sequences(session.output())) == (2000, [] if commands == 3 else [4])
    session.receive(responses[0])
    assert sequences(session.output()) == ([4, 5] if commands == 3 else [5])
    session.rewind()
    assert sequences(session.output()) == [3, 4, 5]
    session.set_window(1000, 1 << 30)
    assert sequences(session.output()) == [6, 7, 8]


def test_one_command_is_sent_however_narrow_the_window_is() -> None:
    session, _ = opened()
    for _ in range(2):
        session.submit(b"x" * 1000)
    session.set_window(1, 10)
    assert sequences(session.output()) == [1]


def test_a_session_says_whether_the_cluster_had_no_room() -> None:
    session, _ = opened()
    session.submit(b"a")
    session.output()
    for status in (AHEAD, OVERLOADED):
        session.receive(codec.encode_response(1, [(1, 0, status, b"")]))
        assert (session.rewind_wanted, session.overloaded) == (True, status == OVERLOADED)
    session.rewind()
    assert not session.overloaded


@given(st.integers(0, 2**32), st.integers(1, 60))
@settings(max_examples=150, deadline=None)
def test_every_schedule_gives_each_command_one_answer(seed: int, count: int) -> None:
    """Requests and responses are lost, repeated, reordered; links break: all are answered, applied once, in order."""
    chance = random.Random(seed)
    session, cluster = Session(chance.getrandbits(60) | 1, 16), Cluster()
    session.connected()
    answers: dict[int, bytes] = {}
    submitted = 0
    flying: list[bytes] = []
    for step in range(20_000):
        session.set_window(chance.randint(1, 16), chance.randint(1, 1000))
        calm = step > 2_000
        while submitted < count and session.submit(b"%d" % (submitted + 1)):
            submitted += 1
        for request in codec.split(session.output())[0]:
            for _ in range(1 if calm else chance.choice([0, 1, 1, 2])):
                flying += cluster.answer(request)
        if not calm:
            chance.shuffle(flying)
        while flying:
            response = flying.pop(0)
            if not calm and chance.random() < 0.3:
                continue
            for sequence, status, _, data in session.receive(response):
                assert status == OK
                assert sequence not in answers
                answers[sequence] = data
        if session.rewind_wanted:
            session.rewind()
        elif calm or chance.random() < 0.2:
            session.connected()
        if len(answers) == count:
            break
    assert sorted(answers) == list(range(1, count + 1))
    assert cluster.journal.entries == [b"%d" % i for i in range(1, count + 1)]
    assert all(int.from_bytes(answers[i], "little") == i - 1 for i in answers)


def test_a_session_is_made_once() -> None:
    """A second time would leak the first one's commands."""
    session = Session(77)
    with pytest.raises(RuntimeError, match="once"):
        session.__init__(77)  # type: ignore[misc]


def test_a_session_refuses_nonsense() -> None:
    """A whole frame, whose root points outside."""
    with pytest.raises(CodecError, match="message that cannot be read"):
        Session(77).receive(struct.pack("<2Q", 1 << 32, 1 << 48 | 99 << 2))


def test_an_answer_that_comes_after_a_rewind_is_not_asked_for_again() -> None:
    """It was on its way while the client gave it up for lost."""
    session = Session(77)
    session.receive(codec.encode_response(5, [(77, 5, codec.ReplyStatus.OPENED, b"")]))
    session.submit(b"a")
    assert session.output()
    session.rewind()
    assert session.receive(codec.encode_response(5, [(1, 6, codec.ReplyStatus.OK, b"!")])) == [(1, 0, 6, b"!")]
    assert session.output() == b""
    assert session.sent == session.acknowledged == 1


# -- the end of a session


def requested(session: Session) -> list[dict[str, Any]]:
    """The commands that the session sends now."""
    frames, _ = codec.split(session.output())
    return [command for frame in frames for command in codec.decode_message(frame)["commands"]]


def expired(session: Session, sequence: int, slot: int) -> None:
    """The answer `expired`; without a slot if the node judged the command on arrival."""
    session.receive(codec.encode_response(session.id, [(sequence, slot, EXPIRED, b"")]))


def test_every_command_carries_the_nonce() -> None:
    session, _ = opened()
    session.submit(b"a")
    assert [(c["session"], c["nonce"]) for c in requested(session)] == [(1, 99)]


def test_closing_is_repeated_until_it_is_answered() -> None:
    session, cluster = opened()
    session.submit(b"a")
    session.output()
    assert session.close()
    assert session.submit(b"b") == 0
    for _ in range(2):
        (command,) = requested(session)
        assert (command["kind"], command["session"], command["nonce"]) == (CLOSE_SESSION, 1, 99)
        assert session.output() == b""
        session.connected()
    (response,) = cluster.answer(session.output())
    assert session.receive(response) == []
    assert session.closed
    assert cluster.sessions.count == 0


def test_closing_waits_for_the_opening() -> None:
    session, cluster = Session(99), Cluster()
    assert not session.close()  # nothing was sent
    session, cluster = Session(99), Cluster()
    session.connected()
    (response,) = cluster.answer(session.output())
    assert session.close()
    assert session.output() == b""
    session.receive(response)
    (response,) = cluster.answer(session.output())
    session.receive(response)
    assert session.closed


def test_what_was_sent_once_and_never_proposed_is_untouched() -> None:
    session, _ = opened()
    session.submit(b"a")
    session.submit(b"b")
    session.output()
    expired(session, 1, 0)
    expired(session, 2, 0)
    assert session.expired
    assert session.untouched
    assert session.unanswered_commands() == [(1, b"a"), (2, b"b")]


@pytest.mark.parametrize("kind", ["in a slot", "sent before", "sent again", "not the first", "one was answered"])
def test_what_may_have_been_applied_is_not(kind: str) -> None:
    session, _ = opened()
    for payload in (b"a", b"b", b"c"):
        session.submit(payload)
    session.output()
    if kind == "sent before":
        session.connected()
    if kind == "sent again":
        session.rewind()
    session.output()
    if kind == "one was answered":
        session.receive(codec.encode_response(1, [(3, 4, OK, b"")]))
    expired(session, 2 if kind == "not the first" else 1, 5 if kind == "in a slot" else 0)
    assert session.expired
    assert not session.untouched


def test_another_cluster_ends_a_session() -> None:
    session, _ = opened()
    assert session.met(7) is False  # it was opened before the cluster was known: nothing says that it is this one
    assert session.expired
    session, cluster = Session(99), Cluster()
    assert [session.met(0), session.met(7), session.met(8)] == [False, True, True]  # not open: nothing is lost
    session.connected()
    for response in cluster.answer(session.output()):
        session.receive(response)
    assert [session.met(8), session.met(0), session.expired] == [True, False, False]
    session.submit(b"a")
    assert [session.met(9), session.expired, session.untouched] == [False, True, True]


def test_another_cluster_is_no_reason_to_send_again_what_the_first_may_have_done() -> None:
    session, cluster = Session(99), Cluster()
    session.met(7)
    session.connected()
    for response in cluster.answer(session.output()):
        session.receive(response)
    session.submit(b"a")
    session.output()
    assert [session.met(9), session.expired, session.untouched] == [False, True, False]
