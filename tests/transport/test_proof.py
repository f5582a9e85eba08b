"""The proof of the cluster's key in a handshake: who is let in, who is refused, and what a stranger learns and can do
with what it has seen. Without sockets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from multipaxos.config.keys import Keys
from multipaxos.transport.handshake import NO_KEY, REFUSED_BY_OTHER, ClientHandshake, Failure, NodeHandshake
from multipaxos.transport.proof import COVERED, proof_of
from multipaxos.wire.schema import Hello, LinkKind
from tests.transport.test_handshake import Side, peer_hello, sent, shake

OLD, NEW, OTHER = (bytes([number]) * 32 for number in (1, 2, 3))
STRANGER = "it does not prove the key of cluster 'test': "
SAME_FILE = "give every node the same key_file"
NAME_FILE = "name the key file with --key-file or MULTIPAXOS_KEY_FILE"
NO_KEY_HERE = "it proves a key, and this node has none: "


def dialling(keys: Keys) -> NodeHandshake:
    """Node 0, which dials node 1."""
    return Side(0, keys=keys).handshake(5, dialled=1)


def dialled(keys: Keys) -> NodeHandshake:
    """Node 1, which was dialled."""
    return Side(1, keys=keys).handshake(6)


# -- who is let in


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ((OLD,), (OLD,)),
        ((), ()),
        ((OLD,), (OLD, NEW)),
        ((OLD, NEW), (NEW, OLD)),
        ((NEW, OLD), (NEW,)),
        ((NEW,), (NEW,)),
    ],
)
def test_nodes_with_a_common_key_are_linked_in_every_step_of_a_change_of_keys(ours: Keys, theirs: Keys) -> None:
    for one, other in ((ours, theirs), (theirs, ours)):
        zero, peer = dialling(one), dialled(other)
        shake(zero, peer)
        assert zero.done
        assert peer.done


@pytest.mark.parametrize(
    ("ours", "theirs", "text"),
    [
        ((), (OLD,), STRANGER + SAME_FILE),
        ((OTHER,), (OLD,), STRANGER + SAME_FILE),
        ((OTHER, OLD), (OLD,), STRANGER + SAME_FILE),  # the first is the one that is proved
        ((NEW,), (OLD,), STRANGER + SAME_FILE),
        ((OLD,), (), NO_KEY_HERE + SAME_FILE),
    ],
)
def test_nodes_without_a_common_key_refuse_each_other(ours: Keys, theirs: Keys, text: str) -> None:
    zero, one = dialling(ours), dialled(theirs)
    shake(zero, one)
    assert one.failure == Failure(NO_KEY, text)
    assert zero.failure == Failure(REFUSED_BY_OTHER, text)
    assert (one.peer_id, one.life) == (-1, (0, 0))


@pytest.mark.parametrize(
    ("ours", "theirs", "text"),
    [
        ((OLD,), (OLD,), ""),
        ((NEW,), (OLD, NEW), ""),
        ((), (), ""),
        ((), (OLD,), STRANGER + NAME_FILE),
        ((OTHER,), (OLD,), STRANGER + NAME_FILE),
        ((OLD,), (), NO_KEY_HERE + "leave out --key-file and MULTIPAXOS_KEY_FILE"),
    ],
)
def test_an_admin_needs_the_key(ours: Keys, theirs: Keys, text: str) -> None:
    admin, node = ClientHandshake("admin", 5, keys=ours), dialled(theirs)
    shake(admin, node)
    assert (admin.done, node.done) == (not text, not text)
    if text:
        assert node.failure == Failure(NO_KEY, text)


def test_a_client_needs_no_key() -> None:
    client, node = ClientHandshake("client", 5), dialled((OLD,))
    shake(client, node)
    assert client.done
    assert node.done
    assert node.kind == "client"


# -- a stranger


def test_a_stranger_that_dials_learns_the_name_and_the_versions() -> None:
    one = Side(1, keys=(OLD,), cluster_id=7, refused_slots=(3,)).handshake(6)
    refusal = sent(one.receive(peer_hello(proof=b"guess")))
    assert replace(refusal, refusal="") == Hello(cluster="test")
    assert one.failure == Failure(NO_KEY, refusal.refusal)


def test_what_does_not_fit_is_told_only_to_who_has_the_key() -> None:
    for changes in ({"configuration": 1}, {"node": 9}, {"incarnation": 101}, {"semantics_min": 9, "semantics_max": 9}):
        assert STRANGER in sent(dialled((OLD,)).receive(peer_hello(**changes))).refusal
        hello = Hello.decode(peer_hello(**changes))
        known = replace(hello, proof=proof_of(OLD, [hello]))
        assert STRANGER not in sent(dialled((OLD,)).receive(known.encode())).refusal


def test_a_stranger_that_is_dialled_is_refused() -> None:
    for proof in (b"", b"guess", bytes(32)):
        zero = dialling((OLD,))
        zero.open()
        answer = replace(Side(1).identity.hello("peer", 6, 5, 0), proof=proof)
        assert STRANGER in sent(zero.receive(answer.encode())).refusal
        assert zero.failure is not None
        assert zero.failure.reason == NO_KEY
        assert not zero.done


def test_an_admin_gives_nothing_to_a_stranger() -> None:
    admin = ClientHandshake("admin", 5, keys=(OLD,))
    admin.open()
    assert admin.receive(Side(1).identity.hello("admin", 6, 5, -1).encode()) == b""
    assert admin.failure is not None
    assert admin.failure.reason == NO_KEY
    assert not admin.done


# -- what was seen proves nothing later, elsewhere or the other way round


def exchange(kind: LinkKind = "peer") -> tuple[Hello, Hello, Hello]:
    """The three hellos of a handshake that was done."""
    one = dialled((OLD,))
    zero = dialling((OLD,)) if kind == "peer" else ClientHandshake(kind, 5, keys=(OLD,))
    first = zero.open()
    second = one.receive(first)
    third = zero.receive(second)
    one.receive(third)
    assert zero.done
    assert one.done
    return sent(first), sent(second), sent(third)


@pytest.mark.parametrize("kind", ["peer", "admin"])
def test_hellos_of_another_handshake_prove_nothing(kind: LinkKind) -> None:
    first, _, third = exchange(kind)
    again = Side(1, keys=(OLD,)).handshake(99)
    assert sent(again.receive(first.encode())).refusal == ""
    for hello in (third, replace(third, echo=99), replace(first, echo=99), replace(first, echo=99, proof=b"")):
        again = Side(1, keys=(OLD,)).handshake(99)
        again.receive(first.encode())
        assert sent(again.receive(hello.encode())).refusal
        assert not again.done


def test_a_third_hello_of_a_client_does_not_do_without_the_proof() -> None:
    first, _, third = exchange()
    again = Side(1, keys=(OLD,)).handshake(99)
    again.receive(first.encode())
    assert STRANGER in sent(again.receive(replace(third, kind="client", echo=99, proof=b"").encode())).refusal
    assert not again.done


def test_an_answer_is_no_question() -> None:
    """A stranger that is dialled sends the caller's own hellos back to it, on that link or on one that it dials."""
    zero = Side(0, keys=(OLD,))
    calling = zero.handshake(5, dialled=1)
    question = sent(calling.open())
    for hello in (question, replace(question, echo=5), replace(question, node=1, target=0, echo=5, nonce=6)):
        calling = zero.handshake(5, dialled=1)
        calling.open()
        assert sent(calling.receive(hello.encode())).refusal
        assert not calling.done
    for hello in (question, replace(question, node=1, target=0), replace(question, node=1, target=0, incarnation=9)):
        called = zero.handshake(8)
        assert sent(called.receive(hello.encode())).refusal
        assert not called.done
    _, answer, _ = exchange()
    for changes in ({}, {"echo": 0}, {"echo": 0, "target": 0}, {"echo": 0, "target": 0, "nonce": 5}):
        called = zero.handshake(8)
        assert STRANGER in sent(called.receive(replace(answer, **changes).encode())).refusal


def test_a_proof_is_of_its_place_in_the_handshake() -> None:
    first, second, third = exchange()
    proofs = {first.proof, second.proof, third.proof}
    assert len(proofs) == 3
    assert proof_of(OLD, [first]) == first.proof
    assert proof_of(OLD, [first, second]) == second.proof
    assert proof_of(OLD, [first, second, third]) == third.proof


CHANGES: dict[str, Any] = {"cluster": "x", "kind": "admin", "mixed_python": True, "refused_slots": (1,)}


@pytest.mark.parametrize("field", COVERED)
def test_every_field_is_covered_by_the_proof(field: str) -> None:
    """In each of the three hellos, also where the field would be believed."""
    hellos = exchange()
    for at in range(3):
        changed = list(hellos[: at + 1])
        value = CHANGES.get(field, 1 + getattr(hellos[at], field) if field not in CHANGES else None)
        changed[at] = replace(hellos[at], **{field: value})
        assert proof_of(OLD, changed) != hellos[at].proof
        assert proof_of(OLD, [*hellos[:at], replace(hellos[at], proof=b"", refusal="x")]) == hellos[at].proof


def test_a_hello_that_was_changed_on_its_way_is_refused() -> None:
    zero, one = dialling((OLD,)), dialled((OLD,))
    first = sent(zero.open())
    assert STRANGER in sent(one.receive(replace(first, process=1).encode())).refusal
    zero, one = dialling((OLD,)), dialled((OLD,))
    second = sent(one.receive(zero.open()))
    assert STRANGER in sent(zero.receive(replace(second, incarnation=1).encode())).refusal
    zero, one = dialling((OLD,)), dialled((OLD,))
    third = sent(zero.receive(one.receive(zero.open())))
    assert STRANGER in sent(one.receive(replace(third, process=1).encode())).refusal
