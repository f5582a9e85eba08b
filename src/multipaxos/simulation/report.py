"""The result of a seed, in numbers; and for a seed that failed the picture of its last messages.

Rules. `run_seed` never raises for a broken promise: it reports it. The picture is drawn from the run itself, because a
run keeps its last frames: all that travelled just before the violation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from multipaxos.diagram.layout import Message, Note
from multipaxos.diagram.picture import draw
from multipaxos.judges.violation import Violation
from multipaxos.simulation.drawing import scenario
from multipaxos.simulation.timeline import MS
from multipaxos.simulation.world import World
from multipaxos.wire.labels import label_of

DIAGRAM_MESSAGES = 120
NOTE_CHARACTERS = 110


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one seed."""

    seed: int
    violation: str  # empty: every promise was kept
    diagram: str  # SVG of the last messages before the violation; empty if there is none
    steps: int
    messages: int
    elections: int
    operations: int
    faults: dict[str, int]


@dataclass(slots=True)
class Total:
    """The sum of many results; `multipaxos simulate --json` prints it as JSON."""

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
    """Runs a world and reports its result."""
    violation = ""
    try:
        world.run()
    except Violation as found:
        violation = str(found)
    return Result(
        seed=world.seed,
        violation=violation,
        diagram=picture(world, violation) if violation else "",
        steps=world.timeline.steps,
        messages=world.network.messages,
        elections=world.elections,
        operations=sum(len(client.history) + len(client.given_up) for client in world.clients),
        faults=dict(world.chance.counts),
    )


def picture(world: World, title: str) -> str:
    """The last messages of a run as SVG."""
    sent = list(world.network.trace)[-DIAGRAM_MESSAGES:]
    messages = [Message(one.sent_ns, one.arrived_ns, one.source, one.target, label_of(one.frame)) for one in sent]
    begin = sent[0].sent_ns if sent else 0
    notes = [
        Note(note.at_ns, f"node {note.node_id}", note.text)
        for note in world.timeline.notes
        if note.at_ns >= begin and note.node_id >= 0
    ]
    spoke = {name for message in messages for name in (message.source, message.target)} | {note.who for note in notes}
    clients = {client.name for client in world.clients} | {one.source for one in sent if "node" not in one.source}
    names = [f"node {host.id}" for host in world.hosts] + sorted(clients)
    return draw([name for name in names if name in spoke], messages, notes, title.splitlines()[0][:NOTE_CHARACTERS])


def add_up(results: Iterable[Result]) -> Total:
    """The sum of the results."""
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


def story(world: World) -> list[str]:
    """All notes of a run, one line each."""
    return [
        f"{note.at_ns / MS:10.3f} ms  {f'node {note.node_id}' if note.node_id >= 0 else '':8}{note.text}"
        for note in world.timeline.notes
    ]
