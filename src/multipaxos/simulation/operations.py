"""What simulated clients ask for: commands of every kind, on few keys.

Rules. No value is written twice, so that a read says which write it saw. What a `cas` or a condition expects is
sometimes right: it is what clients have read last.
"""

from __future__ import annotations

import random

from multipaxos import commands
from multipaxos.commands import Answer, Value
from multipaxos.judges.store import named_in, parse
from multipaxos.simulation.scenario import Scenario
from multipaxos.simulation.tried_machine import opinion, trouble

LARGE_BYTES = 3000
TRIALS = 0.2  # share of operations where there is a user's machine


class Chooser:
    """Chooses commands for all clients of a run."""

    def __init__(self, scenario: Scenario, chance: random.Random) -> None:
        self.random = chance
        self.keys = [b"key%d" % number for number in range(scenario.keys)]
        self.several = scenario.several
        self.value_bytes = scenario.value_bytes
        self.trials = TRIALS if scenario.user_machine else 0.0
        self.known: dict[bytes, Value] = {}  # what clients have read last

    def learn(self, command: bytes, answer: Answer | None) -> None:
        """Keeps what an answer says of keys, to guess by."""
        if answer is not None:
            self.known.update({key: Value(value, version) for key, value, version in named_in(parse(command), answer)})

    def choose(self, value: bytes) -> bytes:
        """A command. `value` is new; what the command writes begins with it."""
        if self.trials and self.random.random() < self.trials:
            return opinion() if self.random.random() < 0.5 else trouble(self.random.randrange(256))
        if self.several and self.random.random() < self.several:
            return self.transaction(value) if self.random.random() < 0.7 else self.scan()
        return self.single(self.random.choice(self.keys), value)

    def single(self, key: bytes, value: bytes) -> bytes:
        """A command on one key."""
        if self.value_bytes:
            return self.sized(key, value)
        if self.random.random() < 0.05:
            value += b"." * LARGE_BYTES
        known = self.known.get(key)
        kind = self.random.random()
        if kind < 0.3 or known is None:
            return commands.put(key, value)
        if kind < 0.6:
            return commands.get(key)
        if kind < 0.7:
            return commands.cas(key, known.value, value)
        if kind < 0.8:
            return commands.cas(key, known.version, value)
        if kind < 0.86:
            return commands.create(key, value)
        if kind < 0.92:
            return commands.update(key, value)
        return commands.remove(key)

    def sized(self, key: bytes, value: bytes) -> bytes:
        """A command that writes a value of `value_bytes`, or one that names a version: a value is never named."""
        known = self.known.get(key)
        kind = self.random.random()
        if kind < 0.2 and known is not None:
            return commands.get(key)
        if kind < 0.3 and known is not None:
            return commands.cas(key, known.version, value.ljust(self.value_bytes, b"."))
        return commands.put(key, value.ljust(self.value_bytes, b"."))

    def scan(self) -> bytes:
        """A scan of all keys, perhaps of a part."""
        after = self.random.choice([b"", self.random.choice(self.keys)])
        return commands.scan(b"key", self.random.choice((0, 0, 1, 2)), after)

    def transaction(self, value: bytes) -> bytes:
        """Conditions on some keys; commands on other ones, or on the same."""
        compares = [self.compare(key) for key in self.some()]
        then = [self.single(key, b"%s.%d" % (value, place)) for place, key in enumerate(self.some())]
        otherwise = [commands.get(key) for key in self.some()] if self.random.random() < 0.5 else []
        return commands.transact(compares, then, otherwise)

    def some(self) -> list[bytes]:
        """One or two keys."""
        return self.random.sample(self.keys, self.random.randint(1, min(2, len(self.keys))))

    def compare(self, key: bytes) -> bytes:
        """A condition, which often holds."""
        known = self.known.get(key)
        kind = self.random.random()
        if known is None or kind < 0.3:
            return commands.missing(key) if known is None else commands.exists(key)
        return commands.value_equals(key, known.value) if kind < 0.65 else commands.version_equals(key, known.version)
