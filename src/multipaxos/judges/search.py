"""Is there an order of the operations that explains their answers?

Theory. The search is that of Wing and Gong (1993): take an operation that no unplaced operation precedes, try it next,
go back if nothing fits; with Lowe's pruning (2017): the same set of placed operations and the same state need not be
tried twice.

Rules.
- Versions rise, because a version is a slot: an operation whose answer names a version comes after all writes of that
  slot and of lower ones, on any key, and after all operations whose answers name a lower version of the same key. The
  search keeps the set of all states that are possible; an answer that says more makes it smaller.
- An operation without an answer of which the slots are known comes after all writes of lower slots, and before all
  operations of higher ones.
- An operation without an answer never has to be placed. Such operations are tried after those that have answers, and
  of several with the same effect, and the same slots where these are known, one stands for all.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from multipaxos.judges.history import Operation, values_named
from multipaxos.judges.one_key import Parsed
from multipaxos.judges.store import AnyCommand, States, Store, Transaction, keys_of, named_in, parse, slot_of

UNNAMED = b"\0a value that no answer names"


class Event:
    """A call or an answer, in a list in order of time that events leave and come back to."""

    __slots__ = ("answer", "index", "is_call", "next", "previous")

    def __init__(self, index: int, is_call: bool, answer: Event | None = None) -> None:
        self.index = index
        self.is_call = is_call
        self.answer = answer  # of a call that was answered, its answer's event
        self.previous: Event = self
        self.next: Event | None = None

    def leave(self) -> None:
        """Takes this event out of the list, and its answer."""
        self.previous.next = self.next
        if self.next is not None:
            self.next.previous = self.previous
        if self.answer is not None:
            self.answer.leave()

    def come_back(self) -> None:
        """Puts both where they were."""
        if self.answer is not None:
            self.answer.come_back()
        self.previous.next = self
        if self.next is not None:
            self.next.previous = self


def events_of(history: Sequence[Operation]) -> Event:
    """The head of the list. At one instant calls come before answers, because those operations may overlap."""
    timed: list[tuple[int, bool, int, Event]] = []
    for index, operation in enumerate(history):
        answer = None if operation.answer is None else Event(index, False)
        timed.append((operation.invoked_ns, False, index, Event(index, True, answer)))
        if answer is not None:
            timed.append((operation.answered_ns, True, index, answer))
    head = last = Event(-1, False)
    for _, _, _, event in sorted(timed, key=lambda item: item[:3]):
        last.next, event.previous = event, last
        last = event
    return head


class Search:
    """A history, prepared: its commands taken apart, and which must come before which. `keys`: those that its answers
    may show, at least those that its commands name."""

    def __init__(self, history: Sequence[Operation], keys: Iterable[bytes] = ()) -> None:
        self.history = history
        self.commands = [parse(operation.command) for operation in history]
        self.store = Store(set(keys).union(*map(keys_of, self.commands)))
        self.head = events_of(history)
        self.left = sum(operation.answer is not None for operation in history)
        self.before = self.those_before()
        self.after = self.those_after()
        self.alike = self.effects()

    def those_before(self) -> list[int]:
        """For every operation the mask of those that come before it because their answers name lower versions."""
        slots = [slot_of(operation.answer) for operation in self.history]
        writes = prefix_masks([(slot, index) for index, slot in enumerate(slots) if slot])
        versions: dict[bytes, dict[int, int]] = {}  # key -> operation -> the highest version that its answer names
        for index, (operation, command) in enumerate(zip(self.history, self.commands, strict=True)):
            named = [(key, version) for key, _, version in named_in(command, operation.answer)]
            if slots[index] and isinstance(command, Parsed):
                named.append((command.key, slots[index]))
            for key, version in named:
                by_key = versions.setdefault(key, {})
                by_key[index] = max(version, by_key.get(index, 0))
        unanswered = [0 if one.answer is not None or one.slots is None else one.slots[0] - 1 for one in self.history]
        masks = [writes(slot or low) for slot, low in zip(slots, unanswered, strict=True)]
        for by_key in versions.values():
            lower = prefix_masks([(version, index) for index, version in by_key.items()])
            for index, version in by_key.items():
                masks[index] |= writes(version) | lower(version - 1)
        return [mask & ~(1 << index) for index, mask in enumerate(masks)]

    def those_after(self) -> list[int]:
        """For every operation without an answer the mask of those that have to come after it, by their slots."""
        lows = [slot_of(one.answer) or (one.slots[0] if one.slots is not None else 0) for one in self.history]
        up_to = prefix_masks([(low, index) for index, low in enumerate(lows)])
        everything = (1 << len(lows)) - 1
        return [
            0 if one.answer is not None or one.slots is None else everything & ~up_to(one.slots[1])
            for one in self.history
        ]

    def effects(self) -> list[AnyCommand]:
        """For every operation what it would do: all values that no answer names are alike."""
        named = values_named(self.history, self.commands)

        def effect(part: Parsed) -> Parsed:
            """A command on one key; its value only if an answer names it."""
            return part if (part.key, part.value) in named else replace(part, value=UNNAMED)

        return [
            effect(one)
            if isinstance(one, Parsed)
            else replace(one, then=tuple(map(effect, one.then)), otherwise=tuple(map(effect, one.otherwise)))
            if isinstance(one, Transaction)
            else one
            for one in self.commands
        ]

    def candidates(self) -> Iterator[Event]:
        """The calls before the first answer that is left: any may be next. Those without an answer come last,
        one for each effect and place in the log."""
        answered: list[Event] = []
        others: dict[tuple[AnyCommand, tuple[int, int] | None], Event] = {}
        event = self.head.next
        while event is not None and event.is_call:
            if event.answer is not None:
                answered.append(event)
            else:
                others.setdefault((self.alike[event.index], self.history[event.index].slots), event)
            event = event.next
        return iter([*answered, *others.values()])

    def run(self, effort: int | None) -> bool:
        """Is there an order? A history that `effort` steps do not decide passes."""
        left, placed, states = self.left, 0, frozenset([self.store.empty()])
        tried = {(placed, states)}
        stack: list[tuple[Event, States, Iterator[Event]]] = []
        choices = self.candidates()
        steps = 0
        while left and steps != effort:
            steps += 1
            call = next(choices, None)
            if call is None:
                if not stack:
                    return False
                call, states, choices = stack.pop()
                placed ^= 1 << call.index
                left += call.answer is not None
                call.come_back()
                continue
            now = self.next_states(call, placed, states)
            mark = (placed | 1 << call.index, now)
            if now and mark not in tried:
                tried.add(mark)
                stack.append((call, states, choices))
                placed, states = mark
                left -= call.answer is not None
                call.leave()
                choices = self.candidates()
        return True

    def next_states(self, call: Event, placed: int, states: States) -> States:
        """The possible states after this call is done next."""
        if self.before[call.index] & ~placed or self.after[call.index] & placed:
            return frozenset()
        answer = self.history[call.index].answer
        now = frozenset(new for old in states for new in self.store.step(self.commands[call.index], answer, old))
        return now if answer is not None or now != states else frozenset()


def prefix_masks(numbered: list[tuple[int, int]]) -> Callable[[int], int]:
    """From pairs of a number and an operation: the function that returns the mask of all operations with at most a
    number."""
    numbered.sort()
    masks = [0]
    for _, index in numbered:
        masks.append(masks[-1] | 1 << index)
    return lambda number: masks[bisect_right(numbered, number, key=lambda pair: pair[0])]


def is_linearizable(history: Sequence[Operation], effort: int | None = None, keys: Iterable[bytes] = ()) -> bool:
    """Is this history linearizable, if no key exists at first? `keys`: as in `Search`. A history that `effort` steps do
    not decide passes."""
    return Search(history, keys).run(effort)
