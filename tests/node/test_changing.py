"""Settings that an admin asks for: which are decided, which are refused, on which links they come."""

from __future__ import annotations

import pytest

from multipaxos.errors import LogTooNew, MachineTooOld
from multipaxos.machine.semantics import Semantics
from multipaxos.paxos.settings import MACHINE_VERSION, SEMANTICS, encode_setting
from multipaxos.wire.codec import CommandKind, ReplyStatus
from tests.support.journal import Journal
from tests.support.one_node import OPEN_SESSION, OneNode, command

SETTING = CommandKind.SETTING
ADMIN = 9


class Third(Journal):
    """A machine of version 3."""

    version = 3


def leading(versions: tuple[int, ...] = (3, 3), linked: bool = True) -> OneNode:
    """Node 0, which leads, runs a machine of version 3 and has an admin with session 1; its peers run these."""
    node = OneNode(journal=Third())
    for peer, version in enumerate(versions, 1):
        node.link(peer, machine_version=version)
    node.lead()
    node.admin(ADMIN)
    node.request(ADMIN, command(0, 77, b"", OPEN_SESSION))
    decide(node)
    node.take(ADMIN)
    if not linked:
        node.core.link_down(102)
    return node


def decide(node: OneNode) -> None:
    """A peer votes for all that the node proposes."""
    node.sync()
    commanders = node.core.leader.commanders
    node.accept(1, node.core.leader.ballot, 1, commanders.slot_end)
    node.sync()


def ask(
    node: OneNode, name: int, value: int, sequence: int = 1, link: int = ADMIN, session: int = 1
) -> list[tuple[int, int, bytes]]:
    """A setting is asked for; the answers: (status, slot, data)."""
    node.request(link, command(session, sequence, encode_setting(name, value), SETTING, nonce=77))
    decide(node)
    replies = [one for response in node.take(link, "response") for one in response["replies"]]
    return [(one["status"], one["slot"], bytes(one["data"])) for one in replies]


def refusal(node: OneNode, name: int, value: int) -> str:
    """Why it is refused; it gets no slot."""
    before = node.core.slot_out
    [(status, _, text)] = ask(node, name, value)
    assert status == ReplyStatus.REFUSED
    assert node.core.slot_out == before
    return text.decode()


def test_a_setting_is_decided_once() -> None:
    node = leading()
    answer = (ReplyStatus.OK, 2, (3).to_bytes(8, "little"))
    assert ask(node, MACHINE_VERSION, 3) == [answer]
    assert node.core.status()["machine_version"] == 3
    assert ask(node, MACHINE_VERSION, 3) == [answer]  # the answer was lost: the same slot
    assert node.core.slot_out == 3


def test_the_machine_is_given_the_version_of_its_slot() -> None:
    node = leading()
    node.request(ADMIN, command(1, 1, b"before", nonce=77))
    decide(node)
    ask(node, MACHINE_VERSION, 2, sequence=2)
    node.request(ADMIN, command(1, 3, b"after", nonce=77))
    decide(node)
    assert [context.machine_version for context in node.journal.contexts] == [1, 2]


def leading_with(versions: tuple[Semantics, ...]) -> OneNode:
    """Node 0, which leads and has an admin without a session; all nodes know two versions of the semantics."""
    node = OneNode(versions=versions)
    for peer in (1, 2):
        node.link(peer, semantics_max=2)
    node.lead()
    node.admin(ADMIN)
    return node


def test_semantics_hold_from_the_next_slot_on() -> None:
    """In the first version of this test two sessions may live, in the second one three."""
    versions = (Semantics(sessions_max=2), Semantics(2, sessions_max=3))
    node = leading_with(versions)
    for nonce in (77, 78, 79, 77):
        node.request(ADMIN, command(0, nonce, b"", OPEN_SESSION))
    decide(node)
    node.take(ADMIN)
    assert node.core.status()["sessions"] == 2
    assert ask(node, SEMANTICS, 2, session=4) == [(ReplyStatus.OK, 5, (2).to_bytes(8, "little"))]
    node.request(ADMIN, command(0, 80, b"", OPEN_SESSION))
    decide(node)
    status = node.core.status()
    assert (status["semantics"], status["sessions"]) == (2, 3)
    node.meta[b"decided"] = (7).to_bytes(8, "little")
    with pytest.raises(LogTooNew, match="slot 5 raises the semantics of the log to 2, this program knows 1 at most"):
        OneNode(founded=False, versions=versions[:1], meta=node.meta, records=node.records)


def test_semantics_with_fewer_sessions_evict_those_unused_for_longest() -> None:
    node = leading_with((Semantics(sessions_max=4), Semantics(2, sessions_max=2)))
    for nonce in (77, 78, 79, 80):
        node.request(ADMIN, command(0, nonce, b"", OPEN_SESSION))
    decide(node)
    node.take(ADMIN)
    assert node.core.status()["sessions"] == 4
    assert [status for status, *_ in ask(node, SEMANTICS, 2)] == [ReplyStatus.OK]  # a use of session 1
    assert node.core.status()["sessions"] == 2
    node.request(ADMIN, *[command(session, 1, b"x", nonce=76 + session) for session in (2, 3, 4)])
    decide(node)
    statuses = {message["session"]: message["replies"][0]["status"] for message in node.take(ADMIN, "response")}
    assert statuses == {2: ReplyStatus.EXPIRED, 3: ReplyStatus.EXPIRED, 4: ReplyStatus.OK}


def test_semantics_that_keep_less_evict_those_that_keep_most() -> None:
    versions = (Semantics(), Semantics(2, kept_bytes_max=1000, sessions_max=4))
    node = leading_with(versions)
    for nonce in (77, 78):
        node.request(ADMIN, command(0, nonce, b"", OPEN_SESSION))
    decide(node)
    node.request(ADMIN, *[command(2, i, b"x", unacknowledged=i - 1, nonce=78) for i in range(1, 11)])
    decide(node)
    node.take(ADMIN)
    status = node.core.status()
    assert (status["sessions"], status["kept_bytes"]) == (2, 10 * (versions[0].answer_cost + 8))
    assert [status for status, *_ in ask(node, SEMANTICS, 2)] == [ReplyStatus.OK]
    status = node.core.status()
    assert (status["sessions"], status["kept_bytes"]) == (1, versions[0].answer_cost + 8)


def test_every_node_has_to_know_it() -> None:
    assert refusal(leading((3, 2)), MACHINE_VERSION, 3).startswith("node 2 knows machine version 2 at most: start it")
    assert refusal(leading(), MACHINE_VERSION, 4).startswith("node 0 knows machine version 3 at most: start it")
    assert refusal(leading(), SEMANTICS, 99).startswith("node 0 knows semantics 1 at most: start it")


def test_every_node_has_to_be_linked() -> None:
    text = refusal(leading(linked=False), MACHINE_VERSION, 3)
    assert text.startswith("node 2 is not linked with node 0: all nodes have to be up")


def test_an_answer_that_was_lost_is_given_again_although_a_node_is_down() -> None:
    node = leading()
    first = ask(node, MACHINE_VERSION, 3)
    node.core.link_down(102)
    assert ask(node, MACHINE_VERSION, 3) == first


def test_a_number_never_goes_down() -> None:
    node = leading()
    ask(node, MACHINE_VERSION, 3)
    [(status, _, text)] = ask(node, MACHINE_VERSION, 2, sequence=2)
    assert (status, text) == (ReplyStatus.REFUSED, b"machine version 3 is in force, and it never goes down")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        (3, 1, "there is no setting 3"),
        (MACHINE_VERSION, 0, "numbers from 1"),
        (MACHINE_VERSION, 1 << 32, "numbers from"),
    ],
)
def test_numbers_that_are_none(name: int, value: int, text: str) -> None:
    assert text in refusal(leading(), name, value)


def test_bytes_that_are_no_setting() -> None:
    node = leading()
    node.request(ADMIN, command(1, 1, b"x", SETTING, nonce=77))
    [response] = node.take(ADMIN, "response")
    assert bytes(response["replies"][0]["data"]) == b"this is no setting"


def test_a_link_that_is_no_admins_does_not_carry_settings() -> None:
    node = leading()
    node.client(5)
    node.request(5, command(1, 1, encode_setting(MACHINE_VERSION, 3), SETTING, nonce=77))
    assert "does not carry" in node.closed[5]
    assert node.core.status()["bad_frames"] == 1
    assert node.core.status()["machine_version"] == 1


def test_a_peer_forwards_a_setting() -> None:
    """The peer has judged it, and this leader proposes it whatever it knows of the others."""
    node = leading(linked=False)
    ask(node, MACHINE_VERSION, 3, link=101)
    assert node.core.status()["machine_version"] == 3


def test_a_node_that_is_too_old_stops_with_a_clear_line_now_and_at_its_next_start() -> None:
    node = OneNode()
    log = [command(0, 77, b"", OPEN_SESSION), command(1, 1, encode_setting(MACHINE_VERSION, 2), SETTING, nonce=77)]
    node.phase2a(1, 1 << 24 | 1, 1, log)
    node.sync()
    with pytest.raises(
        MachineTooOld, match="slot 2 raises the machine's version to 2, this node's machine is version 1"
    ):
        node.send(1, "decision", ballot=1 << 24 | 1, first=1, end=3)
    node.meta[b"decided"] = (3).to_bytes(8, "little")
    with pytest.raises(MachineTooOld, match="start the node with the machine that the others run"):
        node.restart()
    newer = node.restart_with(Third())
    assert newer.core.slot_out == 3
    assert newer.core.status()["machine_version"] == 2
