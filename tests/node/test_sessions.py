"""Sessions inside a node: nonces, ends, reads that are repeated, what is kept, also after a restart."""

from __future__ import annotations

from multipaxos import commands
from multipaxos.machine.key_value import KeyValue
from multipaxos.machine.machine import Machine
from multipaxos.machine.semantics import Semantics
from multipaxos.machine.state_machine import Context
from multipaxos.wire import codec
from tests.support.journal import Journal
from tests.support.one_node import CLOSE_SESSION, NONCE, OPEN_SESSION, OneNode, ballot, command

STATUS = codec.ReplyStatus
B1 = ballot(1, 1)
MIB = 1 << 20


class Store(OneNode):
    """A node with the store."""

    def new_machine(self) -> Machine:
        """What the replica applies commands to."""
        return KeyValue()


def follow(one: OneNode, first: int, *decided: tuple[object, ...]) -> int:
    """The leader proposes the commands, and says that they are decided; returns the next slot."""
    end = first + len(decided)
    one.phase2a(1, B1, first, list(decided))
    one.send(1, "decision", ballot=B1, first=first, end=end)
    one.sync()
    return end


def answers(one: OneNode, link: int = 1) -> list[tuple[int, int, int]]:
    """(sequence, status, slot) of all answers that a client was sent."""
    return [
        (reply["sequence"], reply["status"], reply["slot"])
        for message in one.take(link, "response")
        for reply in message["replies"]
    ]


def opening(nonce: int = NONCE) -> tuple[object, ...]:
    """A command that opens a session."""
    return command(0, nonce, b"", OPEN_SESSION)


class TestNonces:
    """Who knows the id of a session alone has nothing."""

    def test_a_guessed_id_is_expired_and_takes_no_answer(self) -> None:
        one = OneNode()
        follow(one, 1, opening())
        one.client(1)
        one.client(2)
        one.request(1, command(1, 1, b"a"))
        one.take(1)
        one.request(2, *[command(id, 1, b"guessed", nonce=5) for id in (1, 1)])
        assert answers(one, 2) == [(1, STATUS.EXPIRED, 0)] * 2
        follow(one, 2, command(1, 1, b"a"))
        assert answers(one, 1) == [(1, STATUS.OK, 2)]
        assert answers(one, 2) == []

    def test_a_guess_of_the_next_session_takes_no_answer(self) -> None:
        """It is not known here yet, so the link waits; who opens it has another nonce."""
        one = OneNode()
        one.client(1)
        one.client(2)
        one.request(2, command(1, 1, b"guessed", nonce=5))
        one.request(1, opening())
        follow(one, 1, opening(), command(1, 1, b"guessed", nonce=5))
        assert answers(one, 1) == [(NONCE, STATUS.OPENED, 1)]
        assert {status for _, status, _ in answers(one, 2)} == {STATUS.EXPIRED}
        one.request(1, command(1, 1, b"a"))
        follow(one, 3, command(1, 1, b"a"))
        assert answers(one, 1) == [(1, STATUS.OK, 3)]

    def test_a_guess_does_not_keep_the_true_command_from_waiting(self) -> None:
        one = OneNode()
        follow(one, 1, opening())
        one.client(1)
        one.request(1, command(50, 1, b"a", nonce=5), command(50, 1, b"a"))
        assert len(one.core.replica.requests) == 2

    def test_an_opening_without_a_nonce_is_expired_on_arrival(self) -> None:
        one = OneNode()
        one.client()
        one.request(1, opening(0))
        assert answers(one) == [(0, STATUS.EXPIRED, 0)]
        leader = OneNode()
        leader.lead()
        leader.request(101, opening(0))  # a peer forwards it
        assert len(leader.core.replica.requests) == 0
        assert leader.core.replica.slot_in == 1


class TestEnds:
    """Closing."""

    def test_closing_is_answered_and_ends_the_session(self) -> None:
        one = OneNode()
        one.client()
        one.request(1, opening())
        follow(one, 1, opening())
        one.take(1)
        one.request(1, command(1, 1, b"", CLOSE_SESSION))
        follow(one, 2, command(1, 1, b"", CLOSE_SESSION))
        assert answers(one) == [(1, STATUS.OK, 2)]
        assert one.core.status()["sessions"] == 0
        assert one.core.status()["requests"] == 0
        one.request(1, command(1, 1, b"", CLOSE_SESSION), command(1, 1, b"late"))
        assert answers(one) == [(1, STATUS.OK, 0), (1, STATUS.EXPIRED, 0)]

    def test_who_waits_to_close_an_evicted_session_is_answered(self) -> None:
        one = OneNode(versions=(Semantics(sessions_max=1),))
        one.client()
        follow(one, 1, opening())
        one.request(1, command(1, 1, b"", CLOSE_SESSION))
        follow(one, 2, opening(78))
        assert [status for _, status, _ in answers(one)] == [STATUS.OK]
        assert one.core.status()["requests"] == 0


class TestReads:
    """An answer to a read is not kept, so a repeated read needs a slot."""

    def test_a_repeated_read_waits_until_it_is_executed_again(self) -> None:
        one = Store()
        read = command(1, 1, commands.get(b"k"))
        follow(one, 1, opening(), read)
        one.client()
        one.request(1, read)
        assert answers(one) == []
        assert len(one.core.replica.requests) == 1
        follow(one, 3, read)
        assert answers(one) == [(1, STATUS.OK, 3)]
        assert len(one.core.replica.requests) == 0

    def test_copies_of_a_wake_up_get_one_slot(self) -> None:
        """A flood of one answered read, a thousand in a chunk."""
        one = Store()
        at = one.lead()
        one.client()
        read = command(1, 1, commands.get(b"k"))
        for slot, each in ((1, opening()), (2, read)):
            one.request(1, each)
            one.sync()
            one.accept(1, at, slot, slot + 1)
        one.take(1)
        one.request(1, *[read] * 1000)
        assert one.core.replica.slot_in == 4
        assert one.core.status()["void_commands"] == 999
        one.sync()
        one.accept(1, at, 3, 4)
        assert answers(one) == [(1, STATUS.OK, 3)]
        one.request(1, read)
        assert one.core.replica.slot_in == 5

    def test_one_link_may_repeat_so_many_in_a_second(self) -> None:
        one = Store()
        read = command(1, 1, commands.get(b"k"))
        follow(one, 1, opening(), read)
        one.client()
        for _ in range(16 << 10):
            one.core.receive(1, codec.encode_request([read]))
        assert answers(one) == []
        one.request(1, read)
        assert answers(one) == [(1, STATUS.OVERLOADED, 0)]
        one.tick(1001)
        one.request(1, read)
        assert answers(one) == []

    def test_a_repeated_write_does_not(self) -> None:
        one = Store()
        write = command(1, 1, commands.put(b"k", b"v"))
        follow(one, 1, opening(), write)
        one.client()
        one.request(1, write)
        assert answers(one) == [(1, STATUS.OK, 2)]

    def test_an_acknowledged_read_does_not_either(self) -> None:
        one = Store()
        read = command(1, 1, commands.get(b"k"))
        follow(one, 1, opening(), read, command(1, 2, commands.get(b"k")))
        one.client()
        one.request(1, read)
        assert answers(one) == [(1, STATUS.ACKNOWLEDGED, 0)]

    def test_large_reads_that_are_executed_again_are_bounded_in_one_wake_up(self) -> None:
        one = Store()
        one.client()
        read = command(1, 2, commands.get(b"k"), unacknowledged=1)
        follow(one, 1, opening(), command(1, 1, commands.put(b"k", b"v" * MIB)), read)
        one.request(1, read)
        follow(one, 4, *[read] * 40)
        statuses = [status for _, status, _ in answers(one)]
        assert statuses.count(STATUS.OK) == 7, "what one link may leave unread"
        assert statuses.count(STATUS.OVERLOADED) == 33

    def test_and_so_are_those_of_all_links_together(self) -> None:
        one = Store(window=1024)
        first = follow(one, 1, opening(), command(1, 1, commands.put(b"k", b"v" * MIB)))
        slot = follow(one, first, *[opening(100 + i) for i in range(3)])
        reads = [command(first + i, 1, commands.get(b"k"), nonce=100 + i) for i in range(3)]
        slot = follow(one, slot, *reads)
        for i, read in enumerate(reads):
            one.client(10 + i)
            one.request(10 + i, read)
        follow(one, slot, *[read for read in reads for _ in range(7)])
        statuses = [status for i in range(3) for _, status, _ in answers(one, 10 + i)]
        assert statuses.count(STATUS.OK) == 15, "what is sent again in one wake-up"
        assert statuses.count(STATUS.OVERLOADED) == 6


class TestKept:
    """400 one-shot clients, whose answers have 1 MiB."""

    def test_answers_of_reads_cost_nothing(self) -> None:
        one = Store(window=1024)
        clients = [opening(100 + i) for i in range(400)]
        slot = follow(one, 1, opening(), command(1, 1, commands.put(b"k", b"v" * MIB)))
        first, slot = slot, follow(one, slot, *clients)
        reads = [command(first + i, 1, commands.get(b"k"), nonce=100 + i) for i in range(400)]
        follow(one, slot, *reads)
        status = one.core.status()
        assert (status["sessions"], status["kept_bytes"]) == (401, 401 * 192 + 1)

    def test_other_answers_are_bounded_in_all_also_after_a_restart(self) -> None:
        class Large(Journal):
            def apply(self, command: bytes, context: Context) -> bytes:
                return bytes(MIB)

        bound = 16 * MIB
        versions = (Semantics(kept_bytes_max=bound),)
        one = OneNode(window=1024, versions=versions, journal=Large())
        first = follow(one, 1, *[opening(100 + i) for i in range(400)])
        for i in range(400):
            follow(one, first + i, command(1 + i, 1, nonce=100 + i))
            assert one.core.status()["kept_bytes"] <= bound
        before = one.core.status()
        assert before["kept_bytes"] > bound - 2 * MIB
        again = OneNode(
            founded=False, window=1024, versions=versions, journal=Large(), meta=one.meta, records=one.records
        )
        again.phase2a(1, B1, first + 400, [command(0, 0, b"", 0)])
        again.send(1, "decision", ballot=B1, first=first, end=first + 400)
        after = again.core.status()
        for name in ("slot_out", "sessions", "kept_bytes", "state_hash"):
            assert after[name] == before[name]
