"""The replicated side of sessions: exactly once, in order, bounded - judged when a command is applied."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from multipaxos import commands
from multipaxos.judges.session_model import SessionModel
from multipaxos.machine.key_value import KeyValue
from multipaxos.machine.machine import Machine
from multipaxos.machine.python_machine import PythonMachine
from multipaxos.machine.semantics import VERSIONS, Semantics
from multipaxos.machine.user_machine import runner_of
from multipaxos.paxos.kept_answers import COST_LEAST
from multipaxos.paxos.session_table import SessionTable
from multipaxos.wire.codec import CommandKind
from tests.support.journal import Journal

OK, REFUSED, OPENED, AHEAD, EXPIRED, OVERLOADED, ACKNOWLEDGED = range(7)
APPLY, OPEN_SESSION, CLOSE_SESSION = CommandKind.APPLY, CommandKind.OPEN_SESSION, CommandKind.CLOSE_SESSION
MIB = 1 << 20
ANSWER_COST, REFUSAL_BYTES = VERSIONS[0].answer_cost, VERSIONS[0].refusal_bytes
KEPT_BYTES_MAX, SESSIONS_MAX = VERSIONS[0].kept_bytes_max, VERSIONS[0].sessions_max


class Table:
    """A table with a journal behind it, or with another machine; each call is the next slot."""

    def __init__(
        self,
        sessions_max: int = 8,
        kept_bytes_max: int = KEPT_BYTES_MAX,
        machine: Machine | None = None,
        fresh_sessions_max: int = 4096,
    ) -> None:
        self.sessions = SessionTable(
            Semantics(sessions_max=sessions_max, kept_bytes_max=kept_bytes_max, fresh_sessions_max=fresh_sessions_max)
        )
        self.journal = Journal()
        self.machine = PythonMachine(runner_of(self.journal), inside=True) if machine is None else machine
        self.slot = 0
        self.nonces: dict[int, int] = {}

    def open(self, nonce: int) -> int:
        """The id of the session."""
        self.slot += 1
        status, session, _, _ = self.sessions.apply_command(self.machine, self.slot, 0, nonce, 0, b"", OPEN_SESSION)
        assert status == OPENED
        self.nonces[session] = nonce
        return session

    def apply(
        self,
        session: int,
        sequence: int,
        payload: bytes = b"x",
        unacknowledged: int | None = None,
        *,
        nonce: int | None = None,
        kind: int = APPLY,
    ) -> tuple[int, int, bytes]:
        """(status, slot, answer); by default nothing is acknowledged, and the nonce is right."""
        self.slot += 1
        kept = sequence - 1 if unacknowledged is None else unacknowledged
        known = self.nonces.get(session, 0) if nonce is None else nonce
        status, _, slot, answer = self.sessions.apply_command(
            self.machine, self.slot, session, sequence, kept, payload, kind, known
        )
        self.sessions.invariants()
        return status, slot, answer

    def close(self, session: int, nonce: int | None = None) -> int:
        """The status."""
        return self.apply(session, 1, b"", nonce=nonce, kind=CLOSE_SESSION)[0]

    def describe(self, session: int) -> tuple[int, int, int, int] | None:
        """What the table says of a session."""
        return self.sessions.describe(session, self.nonces[session])


class TestExactlyOnce:
    """Each command takes effect at most once, in its turn, and gets its first answer again."""

    def test_the_id_is_the_slot_and_a_repeated_nonce_gets_it_again(self) -> None:
        table = Table()
        assert (table.open(5), table.open(6), table.open(5)) == (1, 2, 1)

    def test_a_repetition_gets_its_first_answer(self) -> None:
        table = Table()
        session = table.open(5)
        assert table.apply(session, 1) == (OK, 2, bytes(8))
        assert table.apply(session, 1) == (OK, 2, bytes(8))
        assert table.journal.entries == [b"x"]

    def test_a_refusal_is_an_answer_too(self) -> None:
        table = Table()
        session = table.open(5)
        first = table.apply(session, 1, b"raise")
        assert first[0] == REFUSED
        assert table.apply(session, 1, b"raise") == first
        assert table.apply(session, 2)[0] == OK

    def test_ahead_is_void(self) -> None:
        table = Table()
        session = table.open(5)
        assert table.apply(session, 2)[0] == AHEAD
        assert table.journal.entries == []
        assert table.apply(session, 1)[0] == OK
        assert table.apply(session, 2)[0] == OK

    def test_what_was_acknowledged_is_gone(self) -> None:
        table = Table()
        session = table.open(5)
        for sequence in (1, 2, 3):
            table.apply(session, sequence)
        assert table.apply(session, 4, unacknowledged=0)[0] == OK
        assert [table.apply(session, sequence)[0] for sequence in (1, 2, 3, 4)] == [ACKNOWLEDGED] * 3 + [OK]
        assert table.describe(session) == (4, 3, ANSWER_COST + 8, 9)

    def test_acknowledgement_never_goes_back_or_ahead(self) -> None:
        table = Table()
        session = table.open(5)
        table.apply(session, 1)
        table.apply(session, 2, unacknowledged=0)
        table.apply(session, 3, unacknowledged=2)
        assert table.describe(session) == (3, 1, 2 * (ANSWER_COST + 8), 4)
        assert table.apply(session, 9, unacknowledged=0)[0] == AHEAD
        assert table.describe(session) == (3, 3, 0, 5)


class TestNonces:
    """A session is (id, nonce): who has the id alone has nothing."""

    def test_a_wrong_nonce_is_expired_and_touches_nothing(self) -> None:
        table = Table()
        session = table.open(5)
        table.apply(session, 1)
        before = table.describe(session)
        for nonce in (0, 4, 5 ^ 1 << 63):
            assert table.apply(session, 2, unacknowledged=0, nonce=nonce)[0] == EXPIRED
            assert table.apply(session, 1, nonce=nonce) == (EXPIRED, table.slot, b"")
            assert table.close(session, nonce) == OK
        assert table.describe(session) == before
        assert table.journal.entries == [b"x"]

    def test_a_wrong_nonce_is_no_use(self) -> None:
        """The session that was used last in the lowest slot goes, whoever names its id meanwhile."""
        table = Table(2)
        one, two = table.open(91), table.open(92)
        table.apply(one, 1, nonce=1)
        table.open(93)
        assert table.describe(one) is None
        assert table.describe(two) is not None

    def test_two_thousand_guessed_ids_use_nothing(self) -> None:
        table = Table()
        session = table.open(5)
        assert {table.apply(id, 1, nonce=0)[0] for id in range(2000)} == {EXPIRED}
        assert table.describe(session) == (0, 0, 0, 1)

    def test_a_client_that_outlives_its_log_is_no_other_clients_session(self) -> None:
        """The new log gave the same id to another client."""
        old, new = Table(), Table()
        assert old.open(111) == new.open(222) == 1
        assert old.apply(1, 1, b"mine")[0] == OK
        assert new.apply(1, 2, b"mine, too", unacknowledged=0, nonce=111)[0] == EXPIRED
        assert new.apply(1, 1, b"theirs")[0] == OK
        assert new.journal.entries == [b"theirs"]

    def test_an_opening_without_a_nonce_is_void(self) -> None:
        table = Table()
        status, session, _, _ = table.sessions.apply_command(table.machine, 1, 0, 0, 0, b"", OPEN_SESSION)
        assert (status, session, table.sessions.count) == (EXPIRED, 0, 0)


class TestEnds:
    """Sessions are closed by their clients, or evicted."""

    def test_closing(self) -> None:
        table = Table()
        session = table.open(5)
        table.apply(session, 1)
        assert table.close(session) == OK
        assert (table.sessions.count, table.sessions.kept_bytes) == (0, 0)
        assert table.close(session) == OK
        assert table.apply(session, 2)[0] == EXPIRED
        assert table.open(5) == table.slot

    def test_unknown_and_evicted_sessions_are_expired(self) -> None:
        table = Table(2)
        assert table.apply(77, 1)[0] == EXPIRED
        one, two = table.open(1), table.open(2)
        table.apply(one, 1)  # one is used last
        three = table.open(3)
        assert table.apply(two, 1)[0] == EXPIRED
        assert table.apply(one, 2)[0] == OK
        assert table.apply(three, 1)[0] == OK
        assert table.sessions.count == 2

    def test_sessions_that_share_a_bucket_are_told_apart(self) -> None:
        """More of them than buckets, opened, found again, and evicted in turn."""
        kept, opened_in_all = 20_000, 24_000
        sessions, machine = SessionTable(Semantics(sessions_max=kept)), KeyValue()
        for slot in range(1, opened_in_all + 1):
            sessions.apply_command(machine, slot, 0, slot + 5, 0, b"", OPEN_SESSION)
        evicted = opened_in_all - kept
        assert [sessions.describe(slot, slot + 5) for slot in (1, evicted)] == [None, None]
        alive = range(evicted + 1, opened_in_all + 1)
        assert all(sessions.describe(slot, slot + 5) == (0, 0, 0, slot) for slot in alive)
        again = sessions.apply_command(machine, opened_in_all + 1, 0, evicted + 6, 0, b"", OPEN_SESSION)
        assert again[1] == evicted + 1

    def test_openings_without_end_evict_one_another(self) -> None:
        """Sessions that have applied nothing go first, once they are many; a use does not change that."""
        table = Table(8, fresh_sessions_max=2)
        used = [table.open(n) for n in range(1, 6)]
        for session in used:
            table.apply(session, 1)
        fresh = [table.open(n) for n in range(11, 14)]
        table.open(11)  # once more: the second is the one that was used least recently now
        for n in range(21, 100):
            table.open(n)
        assert [table.apply(session, 2)[0] for session in used] == [OK] * 5
        assert [table.apply(session, 1)[0] for session in fresh] == [EXPIRED] * 3
        table.sessions.invariants()

    def test_a_few_that_are_new_may_evict_one_that_was_used(self) -> None:
        """Else clients that come at the same time would evict one another for ever, once the table is full."""
        table = Table(4, fresh_sessions_max=2)
        used = [table.open(n) for n in range(1, 5)]
        for session in used:
            table.apply(session, 1)
        fresh = [table.open(n) for n in range(11, 13)]
        assert [table.apply(session, 1)[0] for session in fresh] == [OK] * 2
        assert [table.apply(session, 2)[0] for session in used] == [EXPIRED, EXPIRED, OK, OK]


class TestBounds:
    """What is kept is bounded, for one session and for all."""

    def test_too_much_unacknowledged_is_void(self) -> None:
        table = Table()
        session = table.open(5)
        for sequence in range(1, 16385):
            assert table.apply(session, sequence)[0] == OK
        assert table.apply(session, 16385)[0] == OVERLOADED
        assert table.apply(session, 16385, unacknowledged=10)[0] == OK

    def test_a_refusal_counts_a_fixed_number_of_bytes(self) -> None:
        """The text is no replicated state: tables whose machines give other texts have equal hashes."""
        short, long = Table(), Table()
        long.journal.apply = raise_at_length  # type: ignore[method-assign]
        long.machine = PythonMachine(runner_of(long.journal), inside=True)
        for table in (short, long):
            assert table.apply(table.open(5), 1, b"raise")[0] == REFUSED
        assert short.describe(1) == long.describe(1) == (1, 0, ANSWER_COST + REFUSAL_BYTES, 2)
        assert short.sessions.state_hash_int() == long.sessions.state_hash_int()

    def test_four_hundred_one_shot_clients_that_get_a_mebibyte(self) -> None:
        """Answers of reads are not kept."""
        table = Table(SESSIONS_MAX, machine=KeyValue())
        assert table.apply(table.open(1), 1, commands.put(b"k", b"v" * MIB))[0] == OK
        for client in range(400):
            status, _, answer = table.apply(table.open(100 + client), 1, commands.get(b"k"))
            assert (status, len(answer)) == (OK, 9 + MIB)
        assert table.sessions.count == 401
        assert table.sessions.kept_bytes == 401 * ANSWER_COST + 1

    def test_four_hundred_one_shot_clients_whose_answers_are_kept(self) -> None:
        """A cas that fails answers with the value, and writes are not executed again."""
        bound = 16 * MIB
        table = Table(SESSIONS_MAX, bound, machine=KeyValue())
        writer = table.open(1)
        assert table.apply(writer, 1, commands.put(b"k", b"v" * MIB))[0] == OK
        clients = [table.open(100 + client) for client in range(400)]
        for client in clients:
            table.apply(client, 1, commands.cas(b"k", b"other", b"new"))
            assert table.sessions.kept_bytes <= bound
        assert table.sessions.kept_bytes > bound - 2 * MIB
        alive = [client for client in clients if table.describe(client) is not None]
        assert alive == clients[-len(alive) :]
        assert table.describe(writer) is not None

    def test_the_session_that_keeps_most_goes_among_equals_the_one_unused_for_longest(self) -> None:
        cost = ANSWER_COST + 8
        table = Table(8, 7 * cost)
        one, two, three = table.open(91), table.open(92), table.open(93)
        for sequence in (1, 2):
            for session in (two, one, three):
                assert table.apply(session, sequence)[0] == OK
        assert table.apply(two, 1)[0] == OK  # a use: now session one is the oldest of three equals
        assert table.apply(three, 3, unacknowledged=1)[0] == OK
        four = table.open(94)
        table.apply(four, 1)
        assert table.apply(four, 2, unacknowledged=1)[0] == OK
        assert [table.describe(session) is not None for session in (one, two, three, four)] == [False, True, True, True]

    def test_a_repeated_opening_is_a_use_among_equals_too(self) -> None:
        cost = ANSWER_COST + 8
        table = Table(8, 6 * cost)
        one, two, three = table.open(91), table.open(92), table.open(93)
        for sequence in (1, 2):
            for session in (one, two):
                assert table.apply(session, sequence)[0] == OK
        assert table.open(91) == one
        for sequence in (1, 2, 3):  # the third one is too much
            assert table.apply(three, sequence, unacknowledged=min(sequence - 1, 1))[0] == OK
        table.apply(table.open(94), 1)
        assert [table.describe(session) is not None for session in (one, two, three)] == [True, False, True]

    def test_a_command_that_evicts_its_own_session_is_answered(self) -> None:
        table = Table(8, 4 * MIB, machine=KeyValue())
        one, two = table.open(91), table.open(92)
        table.apply(one, 1, commands.put(b"k", b"v" * MIB))
        for sequence in (1, 2, 3):
            table.apply(two, sequence, commands.cas(b"k", b"other", b"new"))
        status, _, answer = table.apply(two, 4, commands.cas(b"k", b"other", b"new"))
        assert (status, len(answer)) == (OK, 9 + MIB)
        assert table.describe(two) is None
        assert table.apply(two, 5, commands.get(b"k"))[0] == EXPIRED

    def test_the_cost_of_an_answer_covers_its_memory(self) -> None:
        assert all(version.answer_cost >= COST_LEAST for version in VERSIONS)

    def test_rings_that_were_large_shrink_when_all_have_much_room(self) -> None:
        """A ring keeps its room as long as few are large; the answers move with it."""
        table = Table(64)
        large = [table.open(nonce) for nonce in range(1, 36)]
        for session in large:
            for sequence in range(1, 8195):
                table.apply(session, sequence, unacknowledged=min(sequence - 1, 8192))
            table.apply(session, 8195, unacknowledged=3 if session < large[34] else 20)
        rooms = [16384] * 32 + [16, 16, 64]
        assert table.sessions.rings == sum(rooms)
        for session in large:
            answers = [table.apply(session, sequence)[1:] for sequence in (8192, 8193, 8194, 8195)]
            first = answers[0][0]
            assert [slot for slot, _ in answers] == [first, first + 1, first + 2, first + 3]
            assert answers[3][1] == (8194 + 8195 * large.index(session)).to_bytes(8, "little")
        for session in large[:2]:  # the first one makes enough room
            table.apply(session, 8196, unacknowledged=4)
        assert table.sessions.rings == sum(rooms[1:]) + 16
        table.apply(large[1], 8197, kind=CLOSE_SESSION)
        assert table.sessions.rings == sum(rooms[2:]) + 16
        table.sessions.invariants()


class TestReads:
    """An answer to a read is not kept; until it is acknowledged the read is executed again."""

    def test_a_repeated_read_is_executed_again_in_its_slot(self) -> None:
        table = Table(machine=KeyValue())
        one, two = table.open(91), table.open(92)
        table.apply(one, 1, commands.put(b"k", b"old"))
        status, slot, answer = table.apply(two, 1, commands.get(b"k"))
        assert (status, slot, answer[9:]) == (OK, 4, b"old")
        table.apply(one, 2, commands.put(b"k", b"new"))
        status, slot, answer = table.apply(two, 1, commands.get(b"k"))
        assert (status, slot, answer[9:]) == (OK, 6, b"new")

    def test_an_acknowledged_read_is_not(self) -> None:
        table = Table(machine=KeyValue())
        session = table.open(91)
        table.apply(session, 1, commands.get(b"k"))
        table.apply(session, 2, commands.get(b"k"), unacknowledged=0)
        assert table.apply(session, 1, commands.get(b"k"))[0] == ACKNOWLEDGED

    def test_a_write_in_the_place_of_a_read_is_not_applied(self) -> None:
        """One sequence is one command; a client that sends another in its place gets no second effect."""
        table = Table(machine=KeyValue())
        session = table.open(91)
        table.apply(session, 1, commands.get(b"k"))
        assert table.apply(session, 1, commands.put(b"k", b"v"))[0] == ACKNOWLEDGED
        assert table.apply(session, 2, commands.get(b"k"))[2] == b"\x02"

    def test_unacknowledged_reads_are_bounded_all_the_same(self) -> None:
        """Their answers are on the way to the client."""
        table = Table(machine=KeyValue())
        session = table.open(91)
        table.apply(session, 1, commands.put(b"k", b"v" * MIB))
        statuses = [table.apply(session, sequence, commands.get(b"k"))[0] for sequence in range(2, 11)]
        assert statuses == [OK] * 8 + [OVERLOADED]
        assert table.sessions.kept_bytes < 10 * ANSWER_COST


class TestChange:
    """The log says other bounds."""

    def test_what_is_too_much_now_is_evicted_in_the_order_of_the_rules(self) -> None:
        """Too many sessions: those unused for longest. Too much kept: those that keep most of the others."""
        cost = ANSWER_COST + 8
        table = Table(8, 20 * cost)
        sessions = [table.open(90 + i) for i in range(5)]
        for i, answers in enumerate((1, 4, 2, 4, 3)):
            for sequence in range(1, answers + 1):
                table.apply(sessions[i], sequence)
        table.sessions.change(Semantics(sessions_max=4, kept_bytes_max=5 * cost))
        table.sessions.invariants()
        assert [table.describe(session) is not None for session in sessions] == [False, False, True, False, True]
        table.apply(sessions[2], 3)  # it keeps as many as the other one, and was used last
        assert [table.describe(session) is not None for session in sessions] == [False, False, True, False, False]

    def test_a_read_that_is_executed_again_costs_what_it_did(self) -> None:
        table = Table(machine=KeyValue())
        session = table.open(91)
        table.apply(session, 1, commands.get(b"k"))
        table.sessions.change(Semantics(answer_cost=ANSWER_COST + 1))
        assert table.apply(session, 1, commands.get(b"k"))[0] == OK
        assert table.sessions.kept_bytes == ANSWER_COST
        table.apply(session, 2, commands.get(b"k"))
        assert table.sessions.kept_bytes == 2 * ANSWER_COST + 1


class TestHash:
    """The hash covers what is replicated."""

    def test_equal_histories_have_equal_hashes(self) -> None:
        tables = [Table(), Table()]
        for table in tables:
            session = table.open(5)
            table.apply(session, 1)
            table.apply(session, 3)
        assert tables[0].sessions.state_hash_int() == tables[1].sessions.state_hash_int()
        tables[0].apply(1, 2)
        assert tables[0].sessions.state_hash_int() != tables[1].sessions.state_hash_int()

    def test_it_does_not_matter_when_it_is_asked_for(self) -> None:
        often, once = Table(3), Table(3)
        for step in range(400):
            for table in (often, once):
                session = table.open(1 + step % 5) if step % 7 < 3 else max(table.nonces)
                table.apply(session, 1 + step % 11, unacknowledged=step % 3)
            often.sessions.state_hash_int()
        assert often.sessions.state_hash_int() == once.sessions.state_hash_int()

    def test_another_nonce_is_another_hash(self) -> None:
        one, other = Table(), Table()
        assert one.open(5) == other.open(6)
        assert one.sessions.state_hash_int() != other.sessions.state_hash_int()


def raise_at_length(command: bytes, context: object) -> bytes:
    """Refuses as the journal does, with a longer text."""
    raise ValueError("asked to raise, and says so at length" * 10)


CHANGE = 99  # no kind of command: from here on the log says other bounds
SIZES = [0, 1, 15, 16, 17, 100, 700]
steps = st.tuples(
    st.integers(1, 5),  # the client
    st.integers(1, 12),
    st.integers(0, 12),
    st.one_of(
        st.sampled_from(SIZES).map(lambda size: commands.put(b"k", b"v" * size)),
        st.just(commands.cas(b"k", b"never", b"x")),  # its answer, which is kept, is as large as the value
        st.just(commands.get(b"k")),
        st.just(b"malformed"),
    ),
    st.sampled_from([APPLY] * 12 + [OPEN_SESSION] * 3 + [CLOSE_SESSION, CHANGE]),
    st.sampled_from([0] * 15 + [1]),  # what is wrong with the nonce
)


@given(st.lists(steps, max_size=150), st.sampled_from([1200, 4000, KEPT_BYTES_MAX]), st.sampled_from([3, 5]))
@settings(max_examples=300, deadline=None)
def test_against_the_model(
    history: list[tuple[int, int, int, bytes, int, int]], kept_bytes_max: int, sessions_max: int
) -> None:
    """Dictionaries say the same, and so does a table whose hash is asked for after every step."""
    semantics = Semantics(sessions_max=sessions_max, kept_bytes_max=kept_bytes_max, fresh_sessions_max=1)
    sessions, often = SessionTable(semantics), SessionTable(semantics)
    machine, another, other = KeyValue(), KeyValue(), KeyValue()
    model = SessionModel(semantics, lambda slot, each: other.apply_bytes(slot, slot, 0, each), other.reads)
    ids: dict[int, int] = {}  # client -> session; its nonce is 100 + the client
    for slot, (client, sequence, unacknowledged, payload, kind, wrong) in enumerate(history, 1):
        if kind == CHANGE:
            cost = ANSWER_COST + unacknowledged
            semantics = Semantics(
                sessions_max=client,
                kept_bytes_max=300 * sequence,
                answer_cost=cost,
                fresh_sessions_max=unacknowledged % 3,
            )
            sessions.change(semantics)
            often.change(semantics)
            model.use(semantics)
        else:
            opening = kind == OPEN_SESSION or client not in ids
            if opening:
                session, nonce, sequence, unacknowledged, payload, kind = 0, 0, 100 + client, 0, b"", OPEN_SESSION
            else:
                session, nonce = ids[client], 100 + client + wrong
            answer, same = (
                table.apply_command(its_machine, slot, session, sequence, unacknowledged, payload, kind, nonce)
                for table, its_machine in ((sessions, machine), (often, another))
            )
            assert answer == same
            assert answer[0] == model.apply(slot, kind, session, nonce, sequence, unacknowledged, payload)
            if opening:
                ids[client] = answer[1]
        sessions.invariants()
        often.state_hash_int()
        assert (sessions.count, sessions.kept_bytes) == (len(model.live), model.kept_bytes)
        for id, each in model.live.items():
            assert sessions.describe(id, each.nonce) == (each.last, each.acknowledged, each.kept_bytes, each.used_slot)
    assert sessions.state_hash_int() == often.state_hash_int()
    assert machine.state_hash_int() == other.state_hash_int()
