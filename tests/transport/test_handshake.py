"""The handshake alone, without sockets: two sides joined by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from multipaxos.config.cluster import Config, Grid, Member, Sizes
from multipaxos.config.keys import Keys
from multipaxos.transport.handshake import (
    HANDSHAKE_BYTES,
    NO_ECHO,
    NO_HANDSHAKE,
    REFUSED,
    REFUSED_BY_OTHER,
    TOO_MANY_BYTES,
    ClientHandshake,
    Failure,
    NodeHandshake,
)
from multipaxos.transport.identity import Identity, Versions
from multipaxos.transport.meetings import Life, Meetings
from multipaxos.wire.codec import split
from multipaxos.wire.schema import Hello, LinkKind, encode_status_request

CONFIG = Config("test", tuple(Member(i, f"127.0.0.1:{7400 + i}") for i in range(3)), "majority")


class Side:
    """What one node judges hellos with."""

    def __init__(self, node_id: int, config: Config = CONFIG, keys: Keys = (), **identity: Any) -> None:
        self.identity = replace(Identity.of(config.charter(), node_id, Life(100 + node_id, 200 + node_id)), **identity)
        self.keys = keys
        self.meetings = Meetings()
        self.speaking: Life | None = None  # of a peer that is linked

    def handshake(self, nonce: int, dialled: int = -1) -> NodeHandshake:
        return NodeHandshake(self.identity, self.meetings, lambda node: self.speaking, nonce, dialled, self.keys)


def shake(dialling: NodeHandshake | ClientHandshake, other: NodeHandshake) -> None:
    """Carries hellos between two sides until neither sends more."""
    data = dialling.open()
    while data:
        data = dialling.receive(other.receive(data))


def sent(data: bytes) -> Hello:
    """The one hello in these bytes."""
    (frame,), rest = split(data)
    assert not rest
    return Hello.decode(frame)


def peer_hello(**changes: object) -> bytes:
    """The first hello of node 0 to node 1; `changes` make it a wrong one."""
    fields = {"cluster": "test", "configuration": CONFIG.charter().digest(), "node": 0, "incarnation": 100,
              "process": 200, "kind": "peer", "nonce": 7, "target": 1}  # fmt: skip
    return Hello(**{**fields, **changes}).encode()  # type: ignore[arg-type]


# -- handshakes that are done


def test_two_nodes_know_each_other_and_give_their_link_one_name() -> None:
    zero, one = Side(0).handshake(5, dialled=1), Side(1).handshake(6)
    shake(zero, one)
    assert zero.done
    assert one.done
    assert (zero.peer_id, zero.life, zero.kind) == (1, (101, 201), "peer")
    assert (one.peer_id, one.life, one.kind) == (0, (100, 200), "peer")
    assert zero.link_name == one.link_name


@pytest.mark.parametrize("kind", ["client", "admin"])
def test_a_client_knows_the_node_and_the_node_knows_no_peer(kind: LinkKind) -> None:
    client, node = ClientHandshake(kind, 5), Side(1).handshake(6)
    shake(client, node)
    assert client.done
    assert client.theirs is not None
    assert client.theirs.node == 1
    assert node.done
    assert (node.peer_id, node.kind) == (-1, kind)


def test_bytes_may_arrive_one_by_one_and_what_follows_is_kept() -> None:
    client, node = ClientHandshake("client", 5), Side(1).handshake(6)
    answers = b"".join(node.receive(client.open()[i : i + 1]) for i in range(len(client.open())))
    third = b"".join(client.receive(answers[i : i + 1]) for i in range(len(answers)))
    assert client.done
    assert not node.done
    part = encode_status_request(1)[:12]
    assert node.receive(third + part) == b""
    assert node.done
    assert node.take_rest() == part
    assert node.take_rest() == b""


def test_a_side_that_was_dialled_sends_nothing_first() -> None:
    assert Side(1).handshake(6).open() == b""
    assert sent(Side(0).handshake(6, dialled=2).open()).target == 2


def test_a_handshake_that_is_not_done_knows_no_peer() -> None:
    one = Side(1).handshake(6)
    assert (one.peer_id, one.life, one.kind) == (-1, (0, 0), "peer")
    with pytest.raises(AssertionError, match="no name before its handshake"):
        one.link_name  # noqa: B018


# -- hellos that do not fit


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"cluster": "other"}, "it belongs to cluster 'other', this is 'test'"),
        ({"cluster": ""}, "it belongs to cluster '', this is 'test'"),
        ({"configuration": 1}, "its configuration differs from this node's"),
        ({"version_min": 4, "version_max": 5}, "protocol versions 4 to 5, this node 3 to 3: upgrade the older one"),
        ({"version_min": 1, "version_max": 1}, "protocol versions 1 to 1, this node 3 to 3: upgrade the older one"),
        ({"target": 2}, "it looks for node 2, this is node 1: compare the addresses"),
        ({"node": 3}, "node 3 is not one of this node's peers"),
        ({"node": -1}, "node -1 is not one of this node's peers"),
        ({"node": 1}, "node 1 is not one of this node's peers"),
        ({"incarnation": 101}, "it has this node's incarnation: a copied data directory"),
        ({"semantics_min": 2, "semantics_max": 4}, "semantics 2 to 4 of the log, this node 1 to 1: upgrade the older"),
    ],
)
def test_a_peer_that_does_not_fit_is_answered_with_the_reason(changes: dict[str, object], text: str) -> None:
    one = Side(1).handshake(6)
    refusal = sent(one.receive(peer_hello(**changes)))
    assert text in refusal.refusal
    assert (refusal.nonce, refusal.echo) == (0, 0), "a refusal proves nothing"
    assert one.failure == Failure(REFUSED, refusal.refusal)
    assert not one.done
    assert (one.peer_id, one.life) == (-1, (0, 0))


PAIRS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {"cluster_id": 1},
        {"cluster_id": 2},
        "another cluster of the name 'test': its id is 0000000000000001, ",
    ),
    ({"cluster_id": 1}, {"cluster_id": 0}, ""),
    ({"cluster_id": 0}, {"cluster_id": 1}, ""),
    ({"semantics": Versions(1, 2)}, {"semantics": Versions(2, 3)}, ""),
    ({"semantics": Versions(1, 2)}, {"semantics": Versions(3, 3)}, "semantics 1 to 2 of the log, this node 3 to 3"),
    (
        {"python": 3 << 8 | 11},
        {"python": 3 << 8 | 13},
        "machine on Python 3.11, this node on 3.13, where recursion",
    ),
    ({"python": 3 << 8 | 11}, {"python": 3 << 8 | 11}, ""),
    ({"python": 3 << 8 | 11}, {"python": 0}, ""),
    ({"python": 3 << 8 | 11}, {"python": 3 << 8 | 13, "mixed_python": True}, "use one version, or give --mixed-python"),
    ({"python": 3 << 8 | 11, "mixed_python": True}, {"python": 3 << 8 | 13, "mixed_python": True}, ""),
    (
        {"cluster_id": 1, "refused_slots": (5, 9)},
        {"cluster_id": 1},
        "it refuses slots 5, 9, this node no slot: give the same --refuse-slot to every node",
    ),
    ({"cluster_id": 1, "refused_slots": (5,)}, {"cluster_id": 1, "refused_slots": (5,)}, ""),
    ({"cluster_id": 1, "refused_slots": (5,)}, {}, ""),  # a node without an id takes them
    ({"refused_slots": (5,)}, {"cluster_id": 1}, ""),
    ({}, {"refused_slots": (5,)}, "it refuses no slot, this node slots 5: give the same --refuse-slot"),
    ({"machine_version": 2}, {"machine_version": 3}, ""),
]


@pytest.mark.parametrize(("ours", "theirs", "text"), PAIRS)
def test_nodes_fit_or_one_says_why_not(ours: dict[str, Any], theirs: dict[str, Any], text: str) -> None:
    zero, one = Side(0, **ours).handshake(5, dialled=1), Side(1, **theirs).handshake(6)
    shake(zero, one)
    if text:
        assert one.failure is not None
        assert text in one.failure.detail
        assert zero.failure == Failure(REFUSED_BY_OTHER, one.failure.detail)
    assert (zero.done, one.done) == (not text, not text)


@pytest.mark.parametrize("changes", [{}, {"cluster": "test"}, {"target": 1}, {"version_max": 9}, {"configuration": 1}])
def test_a_client_need_not_know_the_cluster(changes: dict[str, object]) -> None:
    one = Side(1).handshake(6)
    answer = sent(one.receive(Hello(**{"cluster": "", "nonce": 7, **changes}).encode()))  # type: ignore[arg-type]
    assert (answer.refusal, answer.echo, answer.node) == ("", 7, 1)


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"cluster": "other"}, "cluster 'other'"), ({"version_min": 9, "version_max": 9}, "versions 9 to 9"),
     ({"target": 2}, "looks for node 2")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["client", "admin"])
def test_a_client_that_does_not_fit_is_refused(kind: str, changes: dict[str, object], text: str) -> None:
    one = Side(1).handshake(6)
    hello = Hello(**{"cluster": "", "kind": kind, "nonce": 7, **changes})  # type: ignore[arg-type]
    assert text in sent(one.receive(hello.encode())).refusal


def test_versions_that_overlap_fit() -> None:
    one = Side(1).handshake(6)
    assert not sent(one.receive(peer_hello(version_min=0, version_max=5))).refusal


@pytest.mark.parametrize("quorum", [Sizes(3, 1), Grid(1, 3)])
def test_nodes_with_other_quorums_refuse_each_other(quorum: Sizes | Grid) -> None:
    zero = Side(0).handshake(5, dialled=1)
    one = Side(1, config=Config(CONFIG.name, CONFIG.nodes, quorum)).handshake(6)
    shake(zero, one)
    assert one.failure is not None
    assert one.failure.reason == REFUSED
    assert zero.failure == Failure(REFUSED_BY_OTHER, one.failure.detail)


def test_a_node_that_answers_in_anothers_place_is_refused() -> None:
    zero, two = Side(0).handshake(5, dialled=1), Side(2)
    answer = two.identity.hello("peer", 6, 5, 0).encode()
    assert "node 2 answers where node 1 should be" in sent(zero.receive(answer)).refusal


@pytest.mark.parametrize("kind", ["client", "admin"])
def test_an_answer_of_another_kind_makes_no_link(kind: LinkKind) -> None:
    """Else a node that was dialled as a peer would be taken for a client."""
    zero = Side(0).handshake(5, dialled=1)
    answer = Side(1).identity.hello(kind, 6, 5, 0).encode()
    assert f"it answers as {kind}, not as a node" in sent(zero.receive(answer)).refusal
    assert not zero.done


@pytest.mark.parametrize("kind", ["peer", "client", "admin"])
def test_a_third_hello_without_the_echo_is_refused(kind: str) -> None:
    one = Side(1).handshake(6)
    first = peer_hello() if kind == "peer" else Hello(cluster="", kind=kind, nonce=7).encode()  # type: ignore[arg-type]
    assert not sent(one.receive(first)).refusal
    assert sent(one.receive(first)).refusal == NO_ECHO
    assert one.failure == Failure(REFUSED, NO_ECHO)


def test_an_answer_without_the_echo_is_refused() -> None:
    zero = Side(0).handshake(5, dialled=1)
    assert sent(zero.receive(Side(1).identity.hello("peer", 6, 4, 0).encode())).refusal == NO_ECHO
    client = ClientHandshake("client", 5)
    assert client.receive(Side(1).identity.hello("client", 6, 4, -1).encode()) == b""
    assert client.failure == Failure(REFUSED, "the node did not echo our nonce")


def test_a_client_learns_why_it_is_refused() -> None:
    client, one = ClientHandshake("client", 5, Versions(8, 8)), Side(1).handshake(6)
    shake(client, one)
    assert client.failure is not None
    assert client.failure.reason == REFUSED_BY_OTHER
    assert "versions 8 to 8, this node 3 to 3" in client.failure.detail
    assert not client.done


# -- what is told to whom


def test_a_client_learns_the_clusters_name_and_id_and_the_node() -> None:
    side = Side(1, cluster_id=9, refused_slots=(4,), python=5, machine_version=7, semantics=Versions(1, 3))
    for kind in ("client", "admin"):
        client, one = ClientHandshake(kind, 5), side.handshake(6)  # type: ignore[arg-type]
        shake(client, one)
        assert client.theirs == Hello(cluster="test", cluster_id=9, node=1, kind=kind, nonce=6, echo=5)  # type: ignore[arg-type]


def test_a_refusal_tells_the_clusters_name_and_the_versions() -> None:
    side = Side(1, cluster_id=9, refused_slots=(4,))
    refusal = sent(side.handshake(6).receive(peer_hello(configuration=1)))
    assert replace(refusal, refusal="") == Hello(cluster="test")


# -- which life, in which order


def test_another_life_is_refused_while_one_speaks() -> None:
    side = Side(1)
    for life, text in (
        (Life(100, 1), "already is node 0 with the same incarnation: a copied data directory is not a node"),
        (Life(1, 200), "already is node 0, with another data directory: end one of them"),
    ):
        side.speaking = life
        assert text in sent(side.handshake(6).receive(peer_hello())).refusal
    assert not sent(side.handshake(6).receive(Hello(cluster="", nonce=7).encode())).refusal, "a client is no life"
    side.speaking = Life(100, 200)
    assert not sent(side.handshake(6).receive(peer_hello())).refusal, "the same process may connect again"
    zero, one = Side(0), Side(1).handshake(6)
    zero.speaking = Life(101, 1)
    dialling = zero.handshake(5, dialled=1)
    shake(dialling, one)
    assert not dialling.done, "whoever dialled"


def test_another_life_may_have_come_up_since_the_first_hello() -> None:
    side = Side(1)
    late = side.handshake(6)
    late.receive(peer_hello())
    side.speaking = Life(1, 1)
    assert "already is node 0" in sent(late.receive(peer_hello(echo=6))).refusal
    assert not late.done


def finish(side: Side, one: NodeHandshake, incarnation: int) -> bytes:
    """The third hello of node 0 in this incarnation; returns what node 1 answers."""
    return one.receive(peer_hello(incarnation=incarnation, echo=one.nonce))


def test_an_incarnation_does_not_come_up_after_its_successor() -> None:
    """Its last hello was under way while its process died, was wiped and started again: founding rests on this."""
    side = Side(1)
    old, new = side.handshake(6), side.handshake(8)
    old.receive(peer_hello(incarnation=1000))
    new.receive(peer_hello(incarnation=2000))
    assert finish(side, new, 2000) == b""
    assert "came up in another life since this connection was made" in sent(finish(side, old, 1000)).refusal
    later = side.handshake(9)
    later.receive(peer_hello(incarnation=3000))
    assert finish(side, later, 3000) == b""
    assert later.done
    back = side.handshake(10)
    assert "with another data directory since" in sent(back.receive(peer_hello(incarnation=2000))).refusal


def test_the_same_life_may_come_up_on_an_older_connection() -> None:
    side = Side(1)
    first, second = side.handshake(6), side.handshake(8)
    for one in (second, first):
        one.receive(peer_hello())
        finish(side, one, 100)
        assert one.done


def test_meetings_are_kept_per_node() -> None:
    meetings = Meetings()
    numbers = [meetings.next_number() for _ in range(3)]
    assert numbers == [1, 2, 3]
    met, unmet, process = Life(1000, 1), Life(999, 1), Life(1000, 2)
    meetings.note(4, met)
    for other in (unmet, process):
        assert "dial again" in meetings.bar(4, other, 3)
        assert not meetings.bar(5, other, 3)
        assert not meetings.bar(4, other, 4)
    assert not meetings.bar(4, met, 1)


def test_lives_that_were_followed_are_over() -> None:
    meetings = Meetings()
    lives = [Life(10, 1), Life(10, 2), Life(20, 3), Life(30, 4)]
    for life in lives:
        assert not meetings.bar(4, life, meetings.next_number())
        meetings.note(4, life)
    for life in (*lives[:3], Life(10, 9), Life(20, 9)):
        assert meetings.bar(4, life, meetings.next_number())
        assert not meetings.bar(5, life, meetings.next_number())
    assert not meetings.bar(4, lives[3], meetings.next_number())
    assert not meetings.bar(4, Life(30, 9), meetings.next_number())
    meetings.note(4, Life(30, 9))
    assert "another process came up as node 4" in meetings.bar(4, lives[3], meetings.next_number())


# -- bytes that are no hello


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 4096, encode_status_request(1)])
def test_other_bytes_end_the_handshake_without_an_answer(data: bytes) -> None:
    for side in (Side(1).handshake(6), Side(0).handshake(5, dialled=1), ClientHandshake("client", 5)):
        assert side.receive(data) == b""
        assert side.failure is not None
        assert side.failure.reason == NO_HANDSHAKE
        assert side.failure.detail
        assert not side.done


def test_an_answer_is_sent_although_other_bytes_follow() -> None:
    one = Side(1).handshake(6)
    one.receive(peer_hello()[:-8])
    assert not sent(one.receive(peer_hello()[-8:])).refusal
    assert one.receive(b"\xff" * 64) == b""
    assert one.failure is not None


def test_the_bytes_of_a_handshake_are_bounded() -> None:
    start = bytes(4) + (1 << 17).to_bytes(4, "little")  # of a frame of 1 MiB, which would be allowed later
    for side in (Side(1).handshake(6), ClientHandshake("client", 5)):
        side.receive(start + bytes(HANDSHAKE_BYTES - len(start) - 1))
        assert side.failure is None
        side.receive(b"\0")
        assert side.failure == Failure(TOO_MANY_BYTES)


def test_a_refusal_from_the_other_side_is_quoted_and_not_answered() -> None:
    one = Side(1).handshake(6)
    assert one.receive(peer_hello(refusal="I am evil\n")) == b""
    assert one.failure == Failure(REFUSED_BY_OTHER, "I am evil\n")
