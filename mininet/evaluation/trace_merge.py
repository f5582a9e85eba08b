"""Merging the traces of all hosts into one: messages sent are joined to their arrivals, checked, counted and drawn.

Theory. The hosts share one clock, so the traces (see `multipaxos.trace.file` for the format) are merged by time alone.
A connection has one name at both of its ends and delivers bytes in order: the n-th frame that an end sent is the n-th
frame that the other end received, and a frame without a counterpart there was lost. A node's trace has the hash of each
command that the node decided and applied, so agreement can be checked without any node's help.

The checks, on the traces alone:

- agreement: no two nodes, nor two lives of one node, decided different commands in a slot, or one command at different
  times;
- log prefix: the slots that a life applied are consecutive from its start, the life had decided them, and no other life
  has another command there;
- no effect before its cause: a received frame was sent, it is the same frame, and it was sent before;
- ballots rise: those that an acceptor adopts, and those that a leader leads at; and after a restart no acceptor has
  forgotten a ballot at which it had answered. A new incarnation is a new node, of which nothing is expected.

Rules. A last line that was cut off is the work of a kill and is not read; any other damage is refused, by file and
line. All lives of a node whose trace is given must be in that trace. A node without a trace is believed: messages to it
are neither lost nor received. Run as `python -m evaluation.trace_merge OUT TRACE... [--slots A:B --svg FILE]`; the exit
code is 1 if a check failed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.errors import BadRecords
from multipaxos.diagram.layout import Message, Note
from multipaxos.diagram.picture import draw
from multipaxos.paxos import ballot
from multipaxos.trace.file import HEADER, HEADER_LINE, VERSION

Event = dict[str, Any]
Slots = tuple[int, int]  # first, end

FAILURES_MAX = 20  # that are reported of one kind
SILENT_NS = 1_000_000_000  # a node that lives pings more often
AROUND_NS = 20_000_000  # elections so near to the messages of a diagram belong to it
COMMON: dict[str, type] = {"at_ns": int, "node": int, "incarnation": str, "event": str}
MESSAGE: dict[str, type] = {"peer": int, "link": str, "kind": str, "bytes": int, "label": str}
RANGE: dict[str, type] = {"first": int, "end": int}
FIELDS: dict[str, dict[str, type]] = {  # the fields that this module needs
    "started": {"slot_out": int, "ballot": int},
    "sent": MESSAGE,
    "received": MESSAGE,
    "linked": {"peer": int, "link": str},
    "adopted": {"ballot": int, "role": str},
    "decided": {**RANGE, "ballot": int, "hashes": list, "times_ns": list},
    "applied": RANGE,
}
NOTED = {"started", "scouting", "adopted", "preempted", "stepped_down", "founded", "said", "ended"}
CLIENTS = "clients"


# == reading


def read(path: Path) -> list[Event]:
    """All events of a file, without a last line that was cut off. Raises BadRecords, which names the line."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise BadRecords(f"{path} cannot be read: {error.strerror}") from error
    cut_off = lines.pop()  # empty if no line was cut off
    if not lines and HEADER_LINE.startswith(cut_off):
        return []
    head = _parsed(path, 1, lines[0] if lines else cut_off)
    if any(head.get(name) != value for name, value in HEADER.items()):
        raise BadRecords(f"{path}, line 1: no trace of version {VERSION}")
    events: list[Event] = []
    for number, line in enumerate(lines[1:], 2):
        event = _parsed(path, number, line)
        wrong = _what_is_wrong(event, events[-1] if events else None)
        if wrong:
            raise BadRecords(f"{path}, line {number}: {wrong}")
        events.append(event)
    return events


def _parsed(path: Path, number: int, line: bytes) -> Event:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise BadRecords(f"{path}, line {number}: {error}") from None
    if not isinstance(value, dict):
        raise BadRecords(f"{path}, line {number}: no JSON object")
    return value


def _what_is_wrong(event: Event, before: Event | None) -> str:
    fields = COMMON | FIELDS.get(str(event.get("event")), {})
    for name, kind in fields.items():
        if not isinstance(event.get(name), kind):
            return f"its {name} is {event.get(name)!r}, not {kind.__name__}"
    if before is not None and event["at_ns"] < before["at_ns"]:
        return "it is earlier than the line before"
    if event["event"] == "decided":
        counts = {len(event["hashes"]), len(event["times_ns"]), event["end"] - event["first"]}
        if len(counts) > 1:
            return "its slots, hashes and times are not equally many"
    return ""


# == merging


@dataclass
class Merged:
    """All events by time, those of equal times in the order of the files; and the failures of the checks."""

    events: list[Event]
    failures: list[str] = field(default_factory=list)

    @property
    def nodes(self) -> list[int]:
        """The nodes whose traces these are."""
        return sorted({event["node"] for event in self.events})

    def of(self, node: int) -> list[Event]:
        """One node's events."""
        return [event for event in self.events if event["node"] == node]

    def write(self, path: Path) -> None:
        """Writes one trace: sent messages have `arrived_ns` (null: lost; absent: not known), received ones have
        `sent_ns`."""
        lines = [HEADER, *self.events]
        path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines), encoding="utf-8")


def merge(paths: Iterable[Path]) -> Merged:
    """Reads, merges, joins and checks traces. Raises BadRecords."""
    events = [event for path in paths for event in read(path)]
    events.sort(key=lambda event: int(event["at_ns"]))
    merged = Merged(events)
    for check in (pair, check_agreement, check_prefix, check_ballots):
        found = check(merged)
        merged.failures += found[:FAILURES_MAX]
        if len(found) > FAILURES_MAX:
            merged.failures.append(f"and {len(found) - FAILURES_MAX} more like this")
    return merged


def pair(merged: Merged) -> list[str]:
    """Joins sent messages to received ones, by link and direction; returns the effects without an earlier cause."""
    sent: dict[tuple[str, int], list[Event]] = defaultdict(list)
    received: dict[tuple[str, int], list[Event]] = defaultdict(list)
    traced = set(merged.nodes)
    for event in merged.events:
        if event["event"] == "sent" and event["peer"] in traced:
            event["arrived_ns"] = None
            sent[event["link"], event["node"]].append(event)
        elif event["event"] == "received" and event["peer"] in traced:
            received[event["link"], event["peer"]].append(event)
    failures = []
    for key, arrivals in received.items():
        for place, arrival in enumerate(arrivals):
            departure = sent[key][place] if place < len(sent[key]) else None
            failures += _joined(departure, arrival)
    return failures


def _joined(departure: Event | None, arrival: Event) -> list[str]:
    what = f"node {arrival['node']} received {arrival['label']!r} from node {arrival['peer']} at {arrival['at_ns']}"
    if departure is None:
        return [f"cause: {what}, which never sent it"]
    if [departure[name] for name in ("kind", "bytes", "label")] != [arrival[n] for n in ("kind", "bytes", "label")]:
        return [f"cause: {what}, which sent {departure['label']!r} in its place"]
    departure["arrived_ns"], arrival["sent_ns"] = arrival["at_ns"], departure["at_ns"]
    if arrival["at_ns"] < departure["at_ns"]:
        return [f"cause: {what}, before it was sent at {departure['at_ns']}"]
    return []


# == checks


def check_agreement(merged: Merged) -> list[str]:
    """The failures that a slot has two commands, or a command two times."""
    failures = []
    known: dict[int, tuple[str, Event]] = {}
    known_times: dict[int, tuple[int, Event]] = {}
    for event in merged.events:
        if event["event"] != "decided":
            continue
        for slot, digest, time_ns in zip(
            range(event["first"], event["end"]), event["hashes"], event["times_ns"], strict=True
        ):
            first, by = known.setdefault(slot, (digest, event))
            if digest != first:
                failures.append(
                    f"agreement: node {by['node']} decided {first} in slot {slot}, node {event['node']} {digest}"
                )
            if time_ns is not None:
                first_ns, by = known_times.setdefault(slot, (time_ns, event))
                if time_ns != first_ns:
                    failures.append(
                        f"agreement: slot {slot} has the time {first_ns} at node {by['node']}, "
                        f"{time_ns} at node {event['node']}"
                    )
    return failures


def check_prefix(merged: Merged) -> list[str]:
    """The failures that slots are not applied one after the other, or not decided before. That all nodes applied the
    same follows from agreement."""
    failures = []
    for node in merged.nodes:
        due = 0
        decided: set[int] = set()
        for event in merged.of(node):
            if event["event"] == "started":
                due = event["slot_out"]
                decided = set()
            elif event["event"] == "decided":
                slots = set(range(event["first"], event["end"]))
                failures += [f"log: node {node} decided slot {slot} twice in one life" for slot in slots & decided]
                decided |= slots
            elif event["event"] == "applied":
                if event["first"] != due or event["end"] <= due:
                    failures.append(
                        f"log: node {node} applied {_slots(event)} at {event['at_ns']}, where {due} was due"
                    )
                missing = [slot for slot in range(event["first"], event["end"]) if slot not in decided]
                if missing:
                    failures.append(f"log: node {node} applied slot {missing[0]} and had not decided it")
                due = event["end"]
    return failures


def check_ballots(merged: Merged) -> list[str]:
    """The failures that an acceptor's ballot does not rise in an incarnation, or is below one at which it answered
    before a restart; or that the ballots of a leader do not rise."""
    failures = []
    floor: dict[tuple[int, str, str], int] = {}
    answered: dict[tuple[int, str], int] = {}
    for event in merged.events:
        who = event["node"], event["incarnation"]
        if event["event"] == "started":
            if event["ballot"] < answered.get(who, 0):
                failures.append(
                    f"ballots: node {who[0]} started at {_ballot(event['ballot'])} "
                    f"and had answered at {_ballot(answered[who])}"
                )
            floor[*who, "acceptor"] = event["ballot"]
        elif event["event"] == "adopted":
            key = *who, event["role"]
            if event["ballot"] <= floor.get(key, 0):
                failures.append(
                    f"ballots: node {who[0]} adopted {_ballot(event['ballot'])} as {event['role']} at "
                    f"{event['at_ns']}, after {_ballot(floor[key])}"
                )
            floor[key] = max(event["ballot"], floor.get(key, 0))
        elif _is_answer(event):
            answered[who] = max(event["ballot"], answered.get(who, 0))
    return failures


def _is_answer(event: Event) -> bool:
    """Is it an answer of an acceptor that rests on what it holds? A 2b for no slots only says which ballot the
    acceptor has seen."""
    if event["event"] != "sent":
        return False
    return event["kind"] == "phase1b" or (event["kind"] == "phase2b" and bool(event["first"] < event["end"]))


def _ballot(number: int) -> str:
    return ballot.describe(number)


def _slots(event: Event) -> str:
    return f"slots {event['first']} to {event['end'] - 1}"


# == counting


def summary(merged: Merged) -> dict[str, Any]:
    """Counts the messages between nodes by kind, in all and per decided slot, and those from and to clients."""
    decided = {
        slot for event in merged.events if event["event"] == "decided" for slot in range(event["first"], event["end"])
    }
    between: dict[str, Counter[str]] = defaultdict(Counter)
    clients: dict[str, Counter[str]] = defaultdict(Counter)
    for event in merged.events:
        if event["event"] == "sent" or (event["event"] == "received" and event["peer"] < 0):
            counts = (clients if event["peer"] < 0 else between)[event["kind"]]
            counts.update(messages=1, bytes=event["bytes"], lost=event.get("arrived_ns", 0) is None)
    return {
        "nodes": merged.nodes,
        "slots": len(decided),
        "between_nodes": _per_slot(between, len(decided)),
        "clients": _per_slot(clients, len(decided)),
        "failures": len(merged.failures),
    }


def _per_slot(kinds: dict[str, Counter[str]], slots: int) -> dict[str, dict[str, float | None]]:
    total: Counter[str] = Counter()
    for counts in kinds.values():
        total.update(counts)
    return {
        kind: {
            **{name: counts[name] for name in ("messages", "bytes", "lost")},
            "messages_per_slot": counts["messages"] / slots if slots else None,
            "bytes_per_slot": counts["bytes"] / slots if slots else None,
        }
        for kind, counts in [*sorted(kinds.items()), ("all", total)]
    }


def table(counted: dict[str, Any]) -> str:
    """The summary as text for people."""
    lines = [f"{counted['slots']} slots decided, nodes {', '.join(map(str, counted['nodes']))}"]
    for title, name in (("between nodes", "between_nodes"), ("with clients", "clients")):
        lines.append(f"{title:<14} {'messages':>10} {'per slot':>10} {'bytes':>12} {'per slot':>10} {'lost':>6}")
        for kind, row in counted[name].items():
            rates = [f"{row[of]:.2f}" if row[of] is not None else "-" for of in ("messages_per_slot", "bytes_per_slot")]
            lines.append(
                f"  {kind:<12} {row['messages']:>10} {rates[0]:>10} {row['bytes']:>12} {rates[1]:>10} {row['lost']:>6}"
            )
    return "\n".join(lines)


# == drawing


def diagram(merged: Merged, first: int, end: int, around_ns: int = AROUND_NS) -> str:
    """A timing diagram of the slots [first, end), as SVG: the messages about them, and the events of leaders and
    nodes from `around_ns` before to as long after. Raises BadRecords if the traces have nothing of these slots."""
    messages = _touching(merged, first, end)
    decided = [event for event in merged.events if event["event"] == "decided" and _overlaps(event, (first, end))]
    if not messages and not decided:
        raise BadRecords(f"the traces have nothing of {_slots({'first': first, 'end': end})}: choose others")
    times = [t for event in messages for t in (event["at_ns"], event.get("arrived_ns")) if t is not None]
    times += [event["at_ns"] for event in decided]
    begins, ends = min(times) - around_ns, max(times) + around_ns
    around = [event for event in merged.events if begins <= event["at_ns"] <= ends]
    messages += [event for event in around if _is_phase1(event, merged.nodes)]
    notes = [event for event in around if event["event"] in NOTED] + decided
    notes += [event for event in _cut_off(merged) if begins <= event["at_ns"] <= ends]
    firsts = {id(next((one for one in merged.of(node) if one["event"] == "started"), None)) for node in merged.nodes}
    zero = min(event["at_ns"] for event in [*messages, *notes])
    return draw(
        [*(_name(node) for node in merged.nodes), *([CLIENTS] if any(e["peer"] < 0 for e in messages) else [])],
        [_message(event, zero) for event in sorted(messages, key=lambda event: int(event["at_ns"]))],
        [
            _note(event, zero, (first, end), id(event) in firsts)
            for event in sorted(notes, key=lambda event: int(event["at_ns"]))
        ],
        f"{_slots({'first': first, 'end': end})}, from {zero} ns on",
    )


def _touching(merged: Merged, first: int, end: int) -> list[Event]:
    """The messages about these slots: those that name them, those that first tell a node that they are decided, and
    those with their commands. Each message once: as sent, or from a client as received."""
    hashes = _hashes(merged, first, end)
    known: dict[int, int] = defaultdict(lambda: 1)  # by node: it knows that all slots below are decided
    nodes = {*merged.nodes, -1}
    touching = []
    for event in merged.events:
        if event["event"] == "applied":
            known[event["node"]] = max(known[event["node"]], event["end"])
        if event["event"] not in ("sent", "received") or event["peer"] not in nodes:
            continue
        if event["event"] == "received" and event["peer"] >= 0:
            continue
        news = {"first": known[event["peer"]], "end": event.get("decided_end", 0)}
        if not set(event.get("commands", ())).isdisjoint(hashes) or any(
            _overlaps(stretch, (first, end)) for stretch in (_named(event), news)
        ):
            touching.append(event)
        known[event["peer"]] = max(known[event["peer"]], event.get("decided_end", 0))
    return touching


def _hashes(merged: Merged, first: int, end: int) -> set[str]:
    """The hashes of the commands in these slots."""
    return {
        digest
        for event in merged.events
        if event["event"] == "decided"
        for slot, digest in zip(range(event["first"], event["end"]), event["hashes"], strict=True)
        if first <= slot < end
    }


def _named(event: Event) -> dict[str, int]:
    """The slots that a message is about. Phase 1 asks for everything from some slot on: it is shown if it is near in
    time, not here."""
    if "end" not in event or event["kind"] == "phase1b":
        return {"first": 0, "end": 0}
    return {"first": event["first"], "end": event["end"]}


def _overlaps(event: Mapping[str, Any], slots: Slots) -> bool:
    return bool(max(event["first"], slots[0]) < min(event["end"], slots[1]))


def _is_phase1(event: Event, nodes: Sequence[int]) -> bool:
    return event["event"] == "sent" and event["kind"] in ("phase1a", "phase1b") and event["peer"] in nodes


def _cut_off(merged: Merged) -> list[Event]:
    """The events after which lives were cut off: another life of the node follows, or nothing for long while other
    nodes go on."""
    found = []
    for node in merged.nodes:
        events = merged.of(node)
        for last, after in zip(events, [*events[1:], None], strict=True):
            silent_ns = merged.events[-1]["at_ns"] - last["at_ns"]
            followed = after["event"] == "started" if after is not None else silent_ns > SILENT_NS
            if last["event"] != "ended" and followed:
                found.append({**last, "event": "cut_off"})
    return found


def _name(node: int) -> str:
    return f"node {node}" if node >= 0 else CLIENTS


def _message(event: Event, zero: int) -> Message:
    """A message of a diagram. The other time of a message from or to a client, or a node without a trace, is not
    known, so the message takes no time."""
    at_ns = event["at_ns"] - zero
    here, there = _name(event["node"]), _name(event["peer"])
    if event["event"] == "received":
        return Message(at_ns, at_ns, there, here, event["label"])
    arrived_ns = event.get("arrived_ns", event["at_ns"])
    return Message(at_ns, None if arrived_ns is None else arrived_ns - zero, here, there, event["label"])


def _note(event: Event, zero: int, slots: Slots, is_first: bool) -> Note:
    """A note of a diagram. `crash` and `restart` at the beginning of its text end and begin the lifeline."""
    at_ns, who = event["at_ns"] - zero, _name(event["node"])
    match event["event"]:
        case "decided":
            first, end = max(event["first"], slots[0]), min(event["end"], slots[1])
            named = f"slot {first}" if end - first == 1 else f"slots {first}-{end - 1}"
            return Note(at_ns, who, f"decided {named}@{_ballot(event['ballot'])}")
        case "adopted" if event["role"] == "acceptor":
            return Note(at_ns, who, f"adopts {_ballot(event['ballot'])}")
        case "started":
            return Note(at_ns, who, f"{'start' if is_first else 'restart'} at slot {event['slot_out']}")
        case "cut_off":
            return Note(at_ns, who, "crash")
        case "ended":
            return Note(at_ns, who, f"crash: {event['reason']}" if event["reason"] != "stopped" else "stopped")
    return Note(at_ns, who, str(event["text"]))


# == the command line


def slots_of(text: str) -> Slots:
    """A:B as slots, like Python's slices: B is not among them. Raises ArgumentTypeError."""
    first, _, end = text.partition(":")
    if not first.isdecimal() or not end.isdecimal() or not 1 <= int(first) < int(end):
        raise argparse.ArgumentTypeError(f"{text!r}: give A:B, slots from 1 on, without B")
    return int(first), int(end)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 0 if every check passed, 1 if one failed, 2 if a trace cannot be read."""
    parser = argparse.ArgumentParser(prog="evaluation.trace_merge", description="Merges, checks and draws traces.")
    parser.add_argument("out", type=Path, metavar="OUT", help="the merged trace")
    parser.add_argument("traces", type=Path, nargs="+", metavar="TRACE", help="each node's trace")
    parser.add_argument("--slots", type=slots_of, metavar="A:B", help="of the diagram; B is not among them")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="where the diagram goes")
    asked = parser.parse_args(arguments)
    if (asked.slots is None) != (asked.svg is None):
        parser.error("a diagram needs both --slots and --svg")
    if asked.out.exists() and any(asked.out.samefile(path) for path in asked.traces if path.exists()):
        parser.error(f"{asked.out} is one of the traces: give another place for the merged one")
    try:
        merged = merge(asked.traces)
        merged.write(asked.out)
        if asked.svg is not None:
            asked.svg.write_text(diagram(merged, *asked.slots), encoding="utf-8")
    except BadRecords as error:
        print(f"trace_merge: {error}", file=sys.stderr)
        return 2
    print(table(summary(merged)))
    for failure in merged.failures:
        print(f"failed: {failure}")
    return 1 if merged.failures else 0


if __name__ == "__main__":
    sys.exit(main())
