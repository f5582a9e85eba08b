"""What a seed did, in numbers; and for a seed that failed the picture of its last messages.

Rules. `run_seed` never raises for a broken promise: it is what is reported. The picture is drawn from the run itself,
for a run keeps its last frames: all that travelled in the last stretch before the violation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from multipaxos.diagram.layout import Message, Note
from multipaxos.diagram.picture import draw, label_of
from multipaxos.judges.oracle import Violation
from multipaxos.simulation import MS
from multipaxos.simulation.scenario import scenario
from multipaxos.simulation.world import World

DIAGRAM_MESSAGES = 120
NOTE_CHARACTERS = 110


@dataclass(frozen=True, slots=True)
class Result:
    """One seed."""

    seed: int
    violation: str  # empty: every promise was kept
    diagram: str  # SVG of the last messages before the violation; empty where there is none
    steps: int
    messages: int
    elections: int
    operations: int
    faults: dict[str, int]


@dataclass(slots=True)
class Total:
    """Of many seeds; as JSON it is what `multipaxos simulate --json` prints."""

    seeds: int
    violations: int
    steps: int
    messages: int
    elections: int
    operations: int
    faults: dict[str, int]


def run_seed(seed: int) -> Result:
    """Runs the scenario of a seed."""
    return judge(World(seed, scenario(seed)))


def judge(world: World) -> Result:
    """Runs a world."""
    violation = ""
    try:
        world.run()
    except Violation as found:
        violation = str(found)
    return Result(
        seed=world.seed,
        violation=violation,
        diagram=picture(world, violation) if violation else "",
        steps=world.steps,
        messages=world.network.messages,
        elections=world.elections,
        operations=sum(len(client.history) for client in world.clients),
        faults=dict(world.adversary.counts),
    )


def picture(world: World, title: str) -> str:
    """The last messages of a run."""
    sent = list(world.network.trace)[-DIAGRAM_MESSAGES:]
    messages = [Message(one.sent_ns, one.arrived_ns, one.source, one.target, label_of(one.frame)) for one in sent]
    begin = sent[0].sent_ns if sent else 0
    notes = [Note(at, f"node {node}", text) for at, node, text in world.notes if at >= begin and node >= 0]
    spoke = {name for message in messages for name in (message.source, message.target)} | {note.who for note in notes}
    names = [f"node {host.id}" for host in world.hosts] + [client.name for client in world.clients]
    return draw([name for name in names if name in spoke], messages, notes, title.splitlines()[0][:NOTE_CHARACTERS])


def add_up(results: Iterable[Result]) -> Total:
    """The sum."""
    total = Total(0, 0, 0, 0, 0, 0, {})
    for result in results:
        total.seeds += 1
        total.violations += bool(result.violation)
        total.steps += result.steps
        total.messages += result.messages
        total.elections += result.elections
        total.operations += result.operations
        for kind, count in result.faults.items():
            total.faults[kind] = total.faults.get(kind, 0) + count
    return total


def timeline(world: World) -> list[str]:
    """All that was noted, one line each."""
    return [f"{at / MS:10.3f} ms  {f'node {node}' if node >= 0 else '':8}{text}" for at, node, text in world.notes]
