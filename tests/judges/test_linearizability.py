"""The linearizability checker: known histories, and against a search of all orders."""

import itertools
import random
from dataclasses import replace

import pytest

from multipaxos import commands
from multipaxos.commands import Exists, Mismatch, NotFound, Pairs, Transacted, Value, Written
from multipaxos.judges.history import Operation
from multipaxos.judges.linearizability import check
from multipaxos.judges.search import is_linearizable
from multipaxos.judges.store import Store, named_in, parse, slot_of

KEY, OTHER = b"k", b"l"


def op(client, invoked, answered, command, answer):
    """An operation on the one key, from `invoked` to `answered`."""
    return Operation(client, command, answer, invoked, answered)


def put(client, invoked, answered, value, version):
    """A put; version None: no answer."""
    return op(client, invoked, answered, commands.put(KEY, value), None if version is None else Written(version))


def get(client, invoked, answered, value=None, version=0):
    """A get; value None: the key did not exist."""
    return op(client, invoked, answered, commands.get(KEY), NotFound() if value is None else Value(value, version))


LINEARIZABLE = {
    "nothing": [],
    "one after another": [put(0, 0, 1, b"a", 5), get(0, 2, 3, b"a", 5)],
    "a read beside a write, before it": [put(0, 0, 9, b"a", 5), get(1, 2, 3)],
    "a read beside a write, after it": [put(0, 0, 9, b"a", 5), get(1, 2, 3, b"a", 5)],
    "a read between two writes that overlap it": [
        put(0, 0, 9, b"a", 5),
        put(1, 0, 9, b"b", 6),
        get(2, 1, 2, b"a", 5),
        get(2, 3, 4, b"b", 6),
    ],
    "an unanswered write that was done": [put(0, 0, 0, b"a", None), get(1, 2, 3, b"a", 7), get(1, 4, 5, b"a", 7)],
    "an unanswered write that never was": [put(0, 0, 0, b"a", None), get(1, 2, 3), get(1, 4, 5)],
    "an unanswered write that was done late": [put(0, 0, 0, b"a", None), get(1, 2, 3), get(1, 4, 5, b"a", 9)],
    "create and exists": [
        op(0, 0, 1, commands.create(KEY, b"a"), Written(3)),
        op(1, 2, 3, commands.create(KEY, b"b"), Exists()),
    ],
    "update, remove and not found": [
        op(0, 0, 1, commands.update(KEY, b"a"), NotFound()),
        put(0, 2, 3, b"b", 4),
        op(0, 4, 5, commands.update(KEY, b"c"), Written(5)),
        op(0, 6, 7, commands.remove(KEY), Written(6)),
        op(0, 8, 9, commands.remove(KEY), NotFound()),
    ],
    "cas by value": [
        put(0, 0, 1, b"a", 4),
        op(1, 2, 3, commands.cas(KEY, b"x", b"b"), Mismatch(b"a", 4)),
        op(1, 4, 5, commands.cas(KEY, b"a", b"b"), Written(6)),
        get(0, 6, 7, b"b", 6),
    ],
    "cas by the version of an unanswered write": [
        put(0, 0, 0, b"a", None),
        op(1, 2, 3, commands.cas(KEY, 4, b"b"), Written(6)),
        get(0, 6, 7, b"b", 6),
    ],
    "an unanswered cas by the version of an unanswered write": [
        put(0, 0, 0, b"a", None),
        op(1, 2, 3, commands.cas(KEY, 4, b"b"), None),
        get(0, 6, 7, b"a", 5),
    ],
}
NOT_LINEARIZABLE = {
    "a read of what was overwritten": [put(0, 0, 1, b"a", 5), put(0, 2, 3, b"b", 6), get(1, 4, 5, b"a", 5)],
    "a lost write": [put(0, 0, 1, b"a", 5), get(1, 2, 3)],
    "two reads that go back": [put(0, 0, 9, b"a", 5), get(1, 2, 3, b"a", 5), get(2, 4, 5)],
    "a write done twice shows by its version": [put(0, 0, 1, b"a", 5), get(1, 2, 3, b"a", 6)],
    "out of nowhere": [get(1, 2, 3, b"a", 6)],
    "versions that fall": [put(0, 0, 1, b"a", 5), put(0, 2, 3, b"b", 4)],
    "an unanswered write undone": [put(0, 0, 0, b"a", None), get(1, 2, 3, b"a", 7), get(1, 4, 5)],
    "two versions of one unanswered write": [
        put(0, 0, 0, b"a", None),
        get(1, 2, 3, b"a", 7),
        get(1, 4, 5, b"a", 8),
    ],
    "both create": [
        op(0, 0, 1, commands.create(KEY, b"a"), Written(3)),
        op(1, 2, 3, commands.create(KEY, b"b"), Written(4)),
    ],
    "both cas": [
        put(0, 0, 1, b"a", 2),
        op(0, 2, 9, commands.cas(KEY, b"a", b"b"), Written(3)),
        op(1, 2, 9, commands.cas(KEY, b"a", b"c"), Written(4)),
    ],
    "a mismatch that matches": [put(0, 0, 1, b"a", 2), op(0, 2, 9, commands.cas(KEY, 2, b"b"), Mismatch(b"a", 2))],
}


@pytest.mark.parametrize("history", LINEARIZABLE.values(), ids=LINEARIZABLE)
def test_linearizable(history):
    assert check(history) is None


@pytest.mark.parametrize("history", NOT_LINEARIZABLE.values(), ids=NOT_LINEARIZABLE)
def test_not_linearizable(history):
    failure = check(history)
    assert failure is not None
    assert failure.keys == (KEY,)
    assert not is_linearizable(failure.operations)
    assert all(one.describe() in failure.describe() for one in failure.operations)


def test_one_without_an_answer_does_not_stand_for_another_in_another_slot():
    """Found by simulation: a create that had no effect in its slot hid the one of a later slot."""
    key = b"k"
    history = [
        put(0, 0, 1, b"a", 1),
        replace(op(1, 0, 99, commands.create(key, b"b"), None), slots=(2, 2)),
        op(0, 2, 3, commands.remove(key), Written(3)),
        replace(op(1, 0, 99, commands.create(key, b"c"), None), slots=(4, 4)),
        op(0, 4, 5, commands.update(key, b"d"), Written(5)),
    ]
    assert check(history) is None


def test_keys_are_apart():
    """Each key has its own history; the one that fails is named."""
    good = [put(0, 0, 1, b"a", 5)]
    bad = [Operation(1, commands.get(b"other"), Value(b"z", 3), 0, 1)]
    assert check(good + bad).keys == (b"other",)


def test_bytes_that_are_no_command_are_no_operation():
    with pytest.raises(ValueError, match="not a command"):
        check([op(0, 0, 1, b"\xffk", None)])


# -- several keys


def both(client, invoked, answered, value, version, compares=()):
    """A transaction that puts one value at both keys; version None: no answer, 0: a compare did not hold."""
    command = commands.transact(compares, [commands.put(KEY, value), commands.put(OTHER, value)])
    done = Transacted(bool(version), (Written(version),) * 2 if version else ())
    return op(client, invoked, answered, command, None if version is None else done)


def get_other(client, invoked, answered, value=None, version=0):
    """A get of the other key; value None: it did not exist."""
    return op(client, invoked, answered, commands.get(OTHER), NotFound() if value is None else Value(value, version))


def scan(client, invoked, answered, *pairs, more=False, limit=0):
    """A scan of all keys."""
    return op(client, invoked, answered, commands.scan(b"", limit), Pairs(pairs, more))


SEVERAL_LINEARIZABLE = {
    "both at once": [both(0, 0, 9, b"a", 5), get(1, 1, 2), get_other(1, 3, 4, b"a", 5)],
    "a scan beside a transaction, before it": [both(0, 0, 9, b"a", 5), scan(1, 1, 2), get_other(1, 3, 4, b"a", 5)],
    "a scan after it": [both(0, 0, 1, b"a", 5), scan(1, 2, 3, (KEY, b"a", 5), (OTHER, b"a", 5))],
    "a scan with a bound": [both(0, 0, 1, b"a", 5), scan(1, 2, 3, (KEY, b"a", 5), more=True, limit=1)],
    "an unanswered transaction that was done": [
        both(0, 0, 0, b"a", None),
        scan(1, 2, 3, (KEY, b"a", 5), (OTHER, b"a", 5)),
    ],
    "an unanswered transaction that never was": [both(0, 0, 0, b"a", None), scan(1, 2, 3), get(1, 4, 5)],
    "a compare that did not hold": [
        put(0, 0, 1, b"x", 3),
        both(0, 2, 3, b"a", 0, [commands.missing(KEY)]),
        scan(1, 4, 5, (KEY, b"x", 3)),
    ],
    "a compare with the version of an unanswered write": [
        put(0, 0, 0, b"x", None),
        both(0, 2, 3, b"a", 7, [commands.version_equals(KEY, 3), commands.value_equals(KEY, b"x")]),
    ],
    "two writes to one key in a transaction": [
        op(
            0, 0, 1, commands.transact([], [commands.put(KEY, b"a"), commands.put(KEY, b"b"), commands.get(KEY)]),
            Transacted(True, (Written(4), Written(4), Value(b"b", 4))),
        ),
        get(1, 2, 3, b"b", 4),
    ],
}  # fmt: skip
SEVERAL_NOT = {
    "half of a transaction": [both(0, 0, 9, b"a", 5), get(1, 1, 2, b"a", 5), get_other(1, 3, 4)],
    "half of an unanswered transaction": [both(0, 0, 0, b"a", None), get(1, 1, 2, b"a", 5), get_other(1, 3, 4)],
    "a scan of a state that never was": [
        put(0, 0, 1, b"a", 5),
        both(0, 2, 3, b"b", 6),
        scan(1, 0, 9, (KEY, b"a", 5), (OTHER, b"b", 6)),
    ],
    "a scan that leaves a key out": [both(0, 0, 1, b"a", 5), scan(1, 2, 3, (KEY, b"a", 5))],
    "a scan that hides that more keys follow": [both(0, 0, 1, b"a", 5), scan(1, 2, 3, (KEY, b"a", 5), limit=1)],
    "a scan that shows a key out of nowhere": [scan(1, 2, 3, (b"z", b"a", 5))],
    "two scans that see two writes in two orders": [
        put(0, 0, 9, b"a", 5),
        op(1, 0, 9, commands.put(OTHER, b"b"), Written(6)),
        scan(2, 1, 2, (OTHER, b"b", 6)),
    ],
    "a compare that held and must not": [put(0, 0, 1, b"x", 3), both(0, 2, 3, b"a", 5, [commands.missing(KEY)])],
    "one transaction in two slots": [
        op(
            0, 0, 1, commands.transact([], [commands.put(KEY, b"a"), commands.put(OTHER, b"a")]),
            Transacted(True, (Written(4), Written(5))),
        )
    ],
}  # fmt: skip


@pytest.mark.parametrize("history", SEVERAL_LINEARIZABLE.values(), ids=SEVERAL_LINEARIZABLE)
def test_several_keys_linearizable(history):
    assert check(history) is None


@pytest.mark.parametrize("history", SEVERAL_NOT.values(), ids=SEVERAL_NOT)
def test_several_keys_not_linearizable(history):
    failure = check(history)
    assert failure is not None
    assert all(one.describe() in failure.describe() for one in failure.operations)


def test_a_failure_is_shown_at_its_smallest():
    """Of a long history that fails in one place, all operations that do not matter are left out."""
    history = [put(0, 10 * i, 10 * i + 5, b"%d" % i, i + 1) for i in range(100)]
    history += [get(1, 10 * i + 6, 10 * i + 9, b"%d" % i, i + 1) for i in range(100)]
    history[150] = get(1, 506, 509, b"20", 21)
    failure = check(history)
    assert len(failure.operations) <= 3
    assert history[150] in failure.operations
    assert "b'20'" in failure.describe()


def explained(history):
    """The definition: tries every order of every choice of unanswered operations."""
    answered = [one for one in history if one.answer is not None]
    maybe = [one for one in history if one.answer is None]
    for count in range(len(maybe) + 1):
        for chosen in itertools.combinations(maybe, count):
            for order in itertools.permutations([*answered, *chosen]):
                if keeps_time(order) and runs(order):
                    return True
    return False


def keeps_time(order):
    """Does no operation stand after one that was called after its answer?"""
    return not any(
        later.answer is not None and later.answered_ns < earlier.invoked_ns
        for earlier, later in itertools.combinations(order, 2)
    )


def runs(order):
    """Done in this order, do the operations give these answers, and do slots rise?"""
    store = Store({KEY, OTHER})
    states = {store.empty()}
    top = 0  # of all versions that were named so far
    for one in order:
        command = parse(one.command)
        slot = slot_of(one.answer)
        if slot and slot <= top:
            return False
        top = max(slot, top, *(version for _, _, version in named_in(command, one.answer)), 0)
        states = {new for old in states for new in store.step(command, one.answer, old)}
    return bool(states)


def random_history(chance):
    """Up to six operations with plausible answers, which are often wrong."""
    return [random_operation(chance, client) for client in range(chance.randint(1, 6))]


def random_operation(chance, client):
    """One operation, on either key or on both."""
    invoked = chance.randrange(20)
    answered = invoked + chance.randint(1, 8)
    kind, value, version = chance.randrange(8), chance.choice([b"a", b"b"]), chance.randint(1, 4)
    key = chance.choice([KEY, KEY, OTHER])
    if kind == 6:
        return both(client, invoked, answered, value, chance.choice([version, 0, None]), [commands.missing(key)])
    if kind == 7:
        return scan(
            client, invoked, answered, *[(one, value, version) for one in chance.choice([[KEY], [KEY, OTHER], []])]
        )
    answers = [Written(version), Value(value, version), NotFound(), Mismatch(value, version), Exists(), None]
    command = [
        commands.put(key, value),
        commands.get(key),
        commands.cas(key, chance.choice([b"a", b"b"]), value),
        commands.cas(key, version, value),
        commands.create(key, value),
        commands.remove(key),
    ][kind]
    fitting = {0: (0, 5), 1: (1, 2), 2: (0, 2, 3), 3: (0, 2, 3, 5), 4: (0, 4), 5: (0, 2)}[kind]
    return op(client, invoked, answered, command, answers[chance.choice(fitting)])


def test_the_search_finds_what_trying_everything_finds():
    """The checker agrees with the definition on small histories of two keys, many of which are linearizable."""
    chance = random.Random(3)
    results = []
    for _ in range(2500):
        history = random_history(chance)
        results.append(check(history) is None)
        assert results[-1] == explained(history), history
    assert 200 < sum(results) < 2300
