"""The key-value machine against a plain dict: answers, versions, order, hashes; and hostile bytes."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multipaxos import commands
from multipaxos.commands import Exists, Mismatch, NotFound, Pairs, Transacted, Value, Written
from multipaxos.machine.key_value import KeyValue

KEY_MAX, VALUE_MAX = 480, 1 << 20


class Model:
    """The store's meaning: {key: (value, version)}, and a command is a tuple."""

    def __init__(self):
        self.content = {}

    def do(self, command, slot):
        return getattr(self, command[0])(slot, *command[1:])

    def put(self, slot, key, value):
        self.content[key] = (value, slot)
        return Written(slot)

    def create(self, slot, key, value):
        return Exists() if key in self.content else self.put(slot, key, value)

    def update(self, slot, key, value):
        return self.put(slot, key, value) if key in self.content else NotFound()

    def get(self, slot, key):
        return Value(*self.content[key]) if key in self.content else NotFound()

    def remove(self, slot, key):
        return Written(slot) if self.content.pop(key, None) else NotFound()

    def cas(self, slot, key, expected, new):
        if key not in self.content:
            return NotFound()
        if expected != self.content[key][isinstance(expected, int)]:
            return Mismatch(*self.content[key])
        return self.put(slot, key, new)

    def scan(self, slot, prefix, limit, after):
        found = [
            (key, *self.content[key])
            for key in sorted(self.content)
            if key.startswith(prefix) and (not after or key > after)
        ]
        cut = limit if limit else len(found)
        return Pairs(tuple(found[:cut]), len(found) > cut)

    def transact(self, slot, compares, then, otherwise):
        holds = all(self.holds(*compare) for compare in compares)
        return Transacted(holds, tuple(self.do(inner, slot) for inner in (then if holds else otherwise)))

    def holds(self, kind, key, expected=None):
        if kind in ("exists", "missing"):
            return (key in self.content) == (kind == "exists")
        return key in self.content and self.content[key][kind == "version_equals"] == expected


def encode(command):
    """The bytes of a model's command."""
    name, *arguments = command
    if name == "transact":
        compares, then, otherwise = arguments
        return commands.transact(
            [getattr(commands, compare[0])(*compare[1:]) for compare in compares],
            [encode(inner) for inner in then],
            [encode(inner) for inner in otherwise],
        )
    return getattr(commands, name)(*arguments)


def run(store, payload, slot):
    refused, answer = store.apply_bytes(slot, 0, 0, payload)
    assert not refused, answer
    return commands.read_answer(payload, answer, slot)


def refusal(store, payload, slot=99):
    """The text of a refusal, after checking that nothing changed."""
    before, hash_before = store.items(), store.state_hash_int()
    refused, text = store.apply_bytes(slot, 0, 0, payload)
    assert refused
    assert (store.items(), store.state_hash_int()) == (before, hash_before)
    return text.decode()


def filled(*pairs):
    store = KeyValue()
    for slot, (key, value) in enumerate(pairs, 1):
        run(store, commands.put(key, value), slot)
    return store


# Few and short, with common prefixes and a zero byte, so that commands meet one another.
keys = st.sampled_from([b"a", b"a\0", b"ab", b"abc", b"b", b"\xff", b"\xff\xff", b"abcdefgh", b"abcdefgh\0"])
values = st.sampled_from([b"", b"1", b"22", b"x" * 100, b"y" * 1000])
versions = st.integers(0, 40)
parts = st.one_of(st.just(b""), keys, st.binary(max_size=3))

simple = st.one_of(
    st.tuples(st.sampled_from(["put", "create", "update"]), keys, values),
    st.tuples(st.sampled_from(["get", "remove"]), keys),
    st.tuples(st.just("cas"), keys, st.one_of(values, versions), values),
)
compare = st.one_of(
    st.tuples(st.sampled_from(["exists", "missing"]), keys),
    st.tuples(st.just("value_equals"), keys, values),
    st.tuples(st.just("version_equals"), keys, versions),
)
any_command = st.one_of(
    simple,
    simple,
    st.tuples(st.just("scan"), parts, st.integers(0, 4), parts),
    st.tuples(
        st.just("transact"),
        st.lists(compare, max_size=3),
        st.lists(simple, max_size=4),
        st.lists(simple, max_size=4),
    ),
)


@given(st.lists(any_command, max_size=40), st.integers(0, 2**64 - 1))
@settings(deadline=None)
def test_behaves_as_a_dict(history, seed):
    store, model = KeyValue(seed=seed), Model()
    for slot, command in enumerate(history, 1):
        assert run(store, encode(command), slot) == model.do(command, slot)
    assert store.items() == [(key, *model.content[key]) for key in sorted(model.content)]
    assert len(store) == len(model.content)


@given(st.lists(st.tuples(keys, values, versions), unique_by=lambda item: item[0]), st.randoms())
@settings(deadline=None)
def test_equal_contents_have_equal_hashes_whatever_the_history(content, random):
    def write(store, items):
        for key, value, version in items:
            run(store, commands.put(key, value), version)

    one, other = KeyValue(seed=1), KeyValue(seed=2)
    write(one, content)
    for key, _, version in content:
        run(other, commands.put(key, b"of another history"), version + 1)
        if random.random() < 0.5:
            run(other, commands.remove(key), version + 2)
    write(other, random.sample(content, len(content)))
    assert one.items() == other.items()
    assert one.state_hash_int() == other.state_hash_int()


@pytest.mark.parametrize(
    "changed",
    [
        [(b"k", b"v", 2)],
        [(b"k", b"w", 1)],
        [(b"l", b"v", 1)],
        [(b"kv", b"", 1)],
        [(b"k", b"v\0", 1)],
        [(b"k", b"v", 1), (b"l", b"v", 1)],
        [],
    ],
)
def test_other_contents_have_other_hashes(changed):
    store, other = filled((b"k", b"v")), KeyValue()
    for key, value, version in changed:
        run(other, commands.put(key, value), version)
    assert store.state_hash_int() != other.state_hash_int()


def test_the_hash_of_what_was_removed_is_gone():
    store = filled((b"k", b"v"), (b"l", b"w"))
    run(store, commands.remove(b"k"), 3)
    run(store, commands.remove(b"l"), 4)
    assert store.state_hash_int() == KeyValue().state_hash_int()


# -- size


def test_a_hundred_thousand_keys_come_and_go():
    store, count = KeyValue(seed=5), 100_000
    order = [(i * 7919) % count for i in range(count)]  # 7919 is prime: every number once, not in order
    store.apply_repeat(0, [commands.put(b"key %06d" % i, b"value %d" % i) for i in order], 1)
    assert len(store) == count
    items = store.items()
    assert [key for key, _, _ in items] == [b"key %06d" % i for i in range(count)]
    assert items[order[41]] == (b"key %06d" % order[41], b"value %d" % order[41], 42)
    page = run(store, commands.scan(b"key 0999", 3, b"key 099996"), 1)
    assert page == Pairs(tuple(items[99_997:]), False)
    store.apply_repeat(count, [commands.remove(b"key %06d" % i) for i in order if i % 1000], 1)
    assert store.items() == items[::1000]
    store.apply_repeat(0, [commands.remove(b"key %06d" % i) for i in range(0, count, 1000)], 1)
    assert (len(store), store.items(), store.state_hash_int()) == (0, [], KeyValue().state_hash_int())


@pytest.mark.parametrize("sizes", [(0, VALUE_MAX, 1, 64, 65, 0), (VALUE_MAX, 0), (3, 300, 30_000, 3)])
def test_a_value_changes_its_size(sizes):
    store = KeyValue()
    for slot, size in enumerate(sizes, 1):
        run(store, commands.put(b"k", bytes([slot]) * size), slot)
        assert run(store, commands.get(b"k"), 100) == Value(bytes([slot]) * size, slot)


def test_the_greatest_key_and_value():
    store = KeyValue()
    run(store, commands.put(b"k" * KEY_MAX, b"v" * VALUE_MAX), 1)
    assert run(store, commands.get(b"k" * KEY_MAX), 2) == Value(b"v" * VALUE_MAX, 1)
    assert run(store, commands.cas(b"k" * KEY_MAX, b"v" * VALUE_MAX, b"w" * VALUE_MAX), 3) == Written(3)


# -- scans


def test_pages_of_a_scan_make_the_whole():
    pairs = [(b"p/%02d" % i, b"v") for i in range(25)]
    store = filled((b"o", b""), *pairs, (b"q", b""))
    found, after, pages = [], b"", 0
    while True:
        page = run(store, commands.scan(b"p/", 4, after), 100)
        found += [(key, value) for key, value, _ in page.pairs]
        pages += 1
        if not page.more:
            break
        after = page.pairs[-1][0]
    assert (found, pages) == (pairs, 7)


def test_a_limit_that_is_just_met_cuts_nothing():
    store = filled((b"a", b""), (b"b", b""))
    assert run(store, commands.scan(b"", 2), 9).more is False
    assert run(store, commands.scan(b"", 1), 9).more is True


def test_a_scan_is_cut_at_about_a_mebibyte():
    store = filled(*((b"%d" % i, b"v" * 300_000) for i in range(8)), (b"9", b"w" * VALUE_MAX))
    page = run(store, commands.scan(b""), 100)
    assert ([key for key, _, _ in page.pairs], page.more) == ([b"0", b"1", b"2"], True)
    last = run(store, commands.scan(b"", 0, b"8"), 100)  # at least one pair, however large
    assert last == Pairs(((b"9", b"w" * VALUE_MAX, 9),), False)


# -- transactions


def test_a_transaction_reads_what_it_wrote():
    store = filled((b"old", b"1"))
    inner = [commands.put(b"k", b"v"), commands.get(b"k"), commands.remove(b"old"), commands.get(b"old")]
    done = run(store, commands.transact([commands.exists(b"old")], inner), 7)
    assert done == Transacted(True, (Written(7), Value(b"v", 7), Written(7), NotFound()))
    assert store.items() == [(b"k", b"v", 7)]


def test_what_fails_inside_is_an_answer():
    store = filled((b"k", b"v"))
    inner = [commands.create(b"k", b"w"), commands.update(b"l", b"w"), commands.cas(b"k", 5, b"w")]
    done = run(store, commands.transact([commands.missing(b"k")], [], inner), 7)
    assert done == Transacted(False, (Exists(), NotFound(), Mismatch(b"v", 1)))


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\x03",
        commands.put(b"k", b"v")[:3],
        b"\x03\x00\x00v",
        commands.get(b"k") + b"x",
        commands.transact([], []),
        b"\x03" + struct.pack("<H", KEY_MAX + 1) + b"k" * (KEY_MAX + 1),
    ],
)
@pytest.mark.parametrize("then", [True, False])
@pytest.mark.parametrize("place", [0, 1])
def test_one_broken_command_refuses_the_whole_transaction(broken, then, place):
    store = filled((b"k", b"v"))
    inner = [commands.put(b"k", b"new"), commands.remove(b"k")]
    inner.insert(place, broken)
    assert refusal(store, commands.transact([], inner if then else [], [] if then else inner))


def test_a_transaction_whose_answer_would_be_too_large_changes_nothing():
    store = filled((b"k", b"v" * VALUE_MAX))
    reads = [commands.get(b"k")] * 3
    assert refusal(store, commands.transact([], [commands.put(b"l", b""), *reads])).startswith("TooLarge: ")
    # The size that counts is the one at the time of reading.
    grown = commands.transact([], [commands.put(b"l", b"w" * VALUE_MAX), *[commands.get(b"l")] * 3])
    assert refusal(store, grown).startswith("TooLarge: ")


# -- hostile bytes


@given(st.binary(max_size=64))
@settings(deadline=None)
def test_any_bytes_are_answered_or_refused(payload):
    store = filled((b"k", b"v"), (b"l", b"w"))
    before = (store.items(), store.state_hash_int())
    refused, answer = store.apply_bytes(9, 0, 0, payload)
    if refused:
        assert answer.startswith((b"Malformed: ", b"TooLarge: "))
        assert (store.items(), store.state_hash_int()) == before
    else:
        commands.read_answer(payload, answer, 9)


SAMPLES = [
    ("get", b"key"),
    ("remove", b"key"),
    ("cas", b"key", b"expected", b"new"),
    ("cas", b"key", 7, b"new"),
    ("scan", b"prefix", 3, b"after"),
    ("transact", [("exists", b"k"), ("value_equals", b"k", b"v")], [("get", b"k")], [("put", b"k", b"v")]),
]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample[0])
def test_a_cut_command_never_reads_beyond_its_end(sample):
    whole, store = encode(sample), filled((b"k", b"v"))
    values_begin = len(whole) - 3 if sample[0] == "cas" else len(whole)  # a shorter value is a command as well
    for size in range(values_begin):
        assert refusal(store, whole[:size]).startswith("Malformed: ")
    if sample[0] != "cas":
        assert refusal(store, whole + b"\0").startswith("Malformed: ")


@pytest.mark.parametrize(
    "payload",
    [
        b"\x03\x00\x00value",
        b"\x04\x00\x00",
        b"\x03" + struct.pack("<H", KEY_MAX + 1) + b"k" * (KEY_MAX + 1),
        commands.put(b"k", b"v" * VALUE_MAX) + b"v",
        commands.cas(b"k", 1, b"v" * VALUE_MAX) + b"v",
        b"\x08" + struct.pack("<H", KEY_MAX + 1) + b"k" * (KEY_MAX + 1) + bytes(6),
        b"\x09" + struct.pack("<HHH", 1, 0, 0) + b"\x01\x00\x00",
    ],
)
def test_beyond_the_limits(payload):
    assert refusal(filled((b"k", b"v")), payload).startswith("TooLarge: ")


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\x0a", b"\xff" * 9, b"\x09\x01\x00\x00\x00\x00\x00\x09\x01\x00k"])
def test_no_operation(payload):
    assert refusal(KeyValue(), payload).startswith("Malformed: ")


# -- bytes that do not answer a command


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample[0])
@pytest.mark.parametrize("answer", [b"", b"\x05"])
def test_bytes_that_are_no_answer(sample, answer):
    with pytest.raises(ValueError, match=r"answer"):
        commands.read_answer(encode(sample), answer, 1)


@pytest.mark.parametrize("sample", [SAMPLES[0], SAMPLES[4], SAMPLES[5]], ids=lambda sample: sample[0])
def test_a_cut_answer(sample):
    with pytest.raises(ValueError, match=r"answer"):
        commands.read_answer(encode(sample), b"\x00\x01", 1)


@pytest.mark.parametrize(
    ("transaction", "reason"),
    [
        (b"\x09\1\0\0\0\0\0\3\1\0k\5\0\0\0ab", b"Malformed: the lengths"),
        (b"\x09\1\0\0\0\0\0\4\1\0k\5\0\0", b"Malformed: the lengths"),
        (b"\x09\0\0\1\0\0\0\x09\0\0\0\x08\0\0\0\0\0\0\0\0", b"Malformed: no such operation"),
    ],
)
def test_a_transaction_that_does_not_parse_is_refused(transaction: bytes, reason: bytes) -> None:
    """A value and a version cut off in a compare; a scan inside."""
    refused, answer = KeyValue().apply_bytes(1, 1, 1, transaction)
    assert refused
    assert answer.startswith(reason)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x09", id="no counts"),
        pytest.param(b"\x09\0\0\1\0\0", id="half of the counts"),
        pytest.param(b"\x09\1\0\1\0\0\0\0\1\0", id="half of a key"),
        pytest.param(b"\x09\1\0\0\0\0\0\3\1\0k\5\0\0\0v", id="half of a value"),
        pytest.param(b"\x09\1\0\0\0\0\0\4\1\0k\5\0\0", id="half of a version"),
    ],
)
def test_what_does_not_parse_is_no_read(command: bytes) -> None:
    """Its refusal is an answer that is kept."""
    assert not KeyValue().reads(command)
    assert KeyValue().apply_bytes(1, 1, 1, command)[0]


def test_an_empty_value_is_compared_without_memory() -> None:
    """Found by `make sanitize`, under which this fails without the correction: memcmp was given NULL."""
    store = KeyValue()
    store.apply_bytes(1, 0, 0, commands.put(b"k", b""))
    assert store.apply_bytes(2, 0, 0, commands.cas(b"k", b"", b"new")) == (False, b"\0")
    assert store.items() == [(b"k", b"new", 2)]
