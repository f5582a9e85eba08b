"""Deliberately broken cores: for each trap of the protocol the one-line slip that falls into it.

A broken core is a copy of the compiled package in which one module was built from changed source. The shipped core
knows nothing of it and pays nothing. `Slip.old` has to stand in the source exactly once, so that a slip cannot become
stale unseen. `seeds`: how many seeds of `multipaxos simulate` find it at the latest. `python -m
tests.simulation.mutants` (or `make teeth`) builds and simulates all of them and prints how many seeds each took, and
what gave it away.

Not here, for a thousand seeds do not find them: a refusal that counts as an adoption of nothing (`test_node.py` and
`transcripts/refusal.txt` hold that rule), an own acceptor that is asked once only (`test_node.py`); and a rule that
another one backs: a vote below the mark.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.instrumented import CORE, CORES, build_changed, on_path


@dataclass(frozen=True, slots=True)
class Slip:
    """One broken rule: `old` becomes `new` in `module`."""

    name: str
    module: str
    old: str
    new: str
    seeds: int = 1000
    more: tuple[tuple[str, str], ...] = ()  # what else has to change, where the rule is held in two places


SLIPS = [
    Slip(
        "a majority that is off by one",
        "paxos/quorum",
        "return _sizes(ids, len(ids) // 2 + 1, len(ids) // 2 + 1)",
        "return _sizes(ids, max(1, len(ids) // 2), max(1, len(ids) // 2))",
    ),
    Slip(
        "a grid whose rows and columns miss each other",
        "paxos/quorum",
        "system.column_masks[i] = _mask(ids[i::columns])",
        "system.column_masks[i] = _mask(ids[i:i + 1])",
    ),
    Slip(
        "a promise sent before its sync",
        "node/node",
        "self.promises.append((self.newest_batch(), node, data))",
        "self.promises.append((0, node, data))",
    ),
    Slip(
        "a ballot promised that left no trace on the disk",
        "node/node",
        "        if self.acceptor.adopt(message.ballot):\n"
        "            self.election.heard(self.now_ns)\n"
        "        self.put_ballot(self.acceptor.ballot_num)\n",
        "        if self.acceptor.adopt(message.ballot):\n"
        "            self.election.heard(self.now_ns)\n"
        "            self.put_ballot(self.acceptor.ballot_num)\n",
    ),
    Slip(
        "a vote sent before its sync",
        "node/node",
        "Ack(self.newest_batch(), ballot, first, end, node)",
        "Ack(0, ballot, first, end, node)",
    ),
    Slip(
        "an answer to a repeat sent before the first one's sync",
        "node/node",
        "Ack(self.newest_batch(), ballot, first, end, node)",
        "Ack(self.newest_batch() if self.acceptor.news else 0, ballot, first, end, node)",
    ),
    Slip(
        "our own vote counted before its sync",
        "node/node",
        "            self.hold_ack(self.id, run.ballot, first, end)\n        return 0",
        "            self.put_ack(self.id, run.ballot, first, end)\n        return 0",
    ),
    Slip(
        "a phase 1a sent before its ballot is durable",
        "node/node",
        "        self.scout_batch = self.gathering\n",
        "        self.scout_batch = self.durable\n",
    ),
    Slip(
        "a ballot reused after a restart",
        "node/node",
        "        self.put_ballot(self.leader.ballot)\n",
        "",
    ),
    Slip(
        "pmax that takes the lowest ballot",
        "paxos/pmax",
        "if row.ballot >= run.ballot:",
        "if row.ballot <= run.ballot:",
    ),
    Slip(
        "pvalues of the quorum not proposed again",
        "paxos/leader",
        "        if run != NULL:\n            return run\n        row = self.commanders.proposals.find(slot)",
        "        row = self.commanders.proposals.find(slot)",
    ),
    Slip(
        "no-ops below the scout's first slot",
        "paxos/leader",
        "start = max(self.scout.first, self.scout.mark, self.commanders.proposals.base)\n",
        "start = max(<uint64_t>1, self.scout.mark - min(self.scout.mark - 1, <uint64_t>2))\n",
    ),
    Slip(
        "a phase 1b without its mark",
        "paxos/acceptor",
        "put_phase1b(out, self.ballot_num, part_first, SLOTS_END, self.mark,",
        "put_phase1b(out, self.ballot_num, part_first, SLOTS_END, 1,",
    ),
    Slip(
        "proposals below start kept",
        "paxos/leader",
        "start = max(self.scout.first, self.scout.mark, self.commanders.proposals.base)\n",
        "start = max(self.scout.first, self.commanders.proposals.base)\n",
    ),
    Slip(
        "a time that changes when proposed again",
        "paxos/leader",
        "                    slot_time_ns = winner.time_ns\n",
        "                    slot_time_ns = utc_ns\n",
    ),
    Slip(
        "a phase 2b of another ballot counted",
        "paxos/commander",
        "        if self.ballot == 0 or ballot != self.ballot:\n",
        "        ballot = self.ballot\n        if self.ballot == 0:\n",
    ),
    Slip(
        "a phase 2b counted twice",
        "paxos/commander",
        "            row.votes |= <uint64_t>1 << acceptor\n",
        "            if row.votes >> acceptor & 1:\n"
        "                row.votes |= row.votes << 1 | row.votes >> 1\n"
        "            row.votes |= <uint64_t>1 << acceptor\n",
    ),
    Slip(
        "a phase 1b of an earlier ballot counted",
        "paxos/scout",
        "if message.ballot < self.ballot or message.first > self.covered[acceptor]:",
        "if message.first > self.covered[acceptor]:",
    ),
    Slip(
        "a pvalue accepted below ballot_num",
        "paxos/acceptor",
        "        if run.ballot < self.ballot_num and self.voting:\n",
        "        if False:\n",
    ),
    Slip(
        "a watermark believed across ballots",
        "node/node",
        "if slot >= first and row != NULL and row.run != NULL and row.ballot >= ballot:",
        "if slot >= first and row != NULL and row.run != NULL:",
    ),
    Slip(
        "a watermark believed below its first slot",
        "node/node",
        "if slot >= first and row != NULL and row.run != NULL and row.ballot >= ballot:",
        "if row != NULL and row.run != NULL and row.ballot >= ballot - (ballot if slot < first else 0):",
    ),
    Slip(
        "a restart at which the older record holds",
        "node/node",
        "            if row.run != NULL and row.votes > index:\n",
        "            if row.run != NULL and row.votes < index:\n",
    ),
    Slip(
        "an overlapping record that hides its elder",
        "node/node",
        "        for index, first, end, frame in records:\n            run = run_read(",
        "        for index, first, end, frame in {record[1]: record for record in records}.values():\n"
        "            run = run_read(",
    ),
    Slip(
        "a record of a lower ballot that hides a higher one",
        "node/node",
        "            if row == NULL or row.run != run:\n                self.record_part(run, first, slot)\n",
        "            if row == NULL:\n                self.record_part(run, first, slot)\n",
    ),
    Slip(
        "a pvalue that takes the place of one of a higher ballot",
        "paxos/acceptor",
        "            if row != NULL and (row.run == NULL or row.ballot < run.ballot):\n",
        "            if row != NULL and (row.run == NULL or row.ballot != run.ballot):\n",
    ),
    Slip(
        "decided slots said to be on disk that are not",
        "node/node",
        "            self.decided_put = self.emitted_out\n",
        "            self.decided_put = self.emitted_out + 1\n",
    ),
    Slip(
        "catch-up that leaves slots out of the log",
        "node/node",
        "                if self.acceptor.learn(run, entry.first, entry.end):\n",
        "                if self.acceptor.learn(run, entry.first, entry.end) and entry.first & 1:\n",
    ),
    Slip(
        "catch-up that skips a slot",
        "paxos/replica",
        "            if row == NULL or row.run == NULL:\n                break\n            self.settle",
        "            if row == NULL or row.run == NULL:\n"
        "                row = self.decisions.find(self.slot_out + 1)\n"
        "                if row == NULL or row.run == NULL:\n"
        "                    break\n"
        "                self.slot_out += 1\n"
        "            self.settle",
    ),
    Slip(
        "a wiped node that votes",
        "node/node",
        "founders is not None and self.is_acceptor)",
        "self.is_acceptor)",
        more=(
            (
                "        if link.incarnation != self.leader.founders[link.node]:\n"
                '            return self.refuse(link, "a phase1a from',
                '        if False:\n            return self.refuse(link, "a phase1a from',
            ),
        ),
    ),
    Slip(
        "a founding by emptiness",
        "membership/founding",
        "all(report == (True, view) for report in self.reports.values())",
        "all(report[0] for report in self.reports.values())",
        seeds=1000,
    ),
    Slip(
        "a founding by who has learnt",
        "membership/founding",
        "return self.fresh and not self.learnt",
        "return self.fresh",
    ),
    Slip(
        "a command that lost its leader not proposed again",
        "paxos/replica",
        "            if row != NULL and row.run != NULL and not row.flags:\n"
        "                self.requests.push(row.run, slot)\n",
        "            if row != NULL and row.run != NULL and not row.flags:\n",
    ),
    Slip(
        "a session judged on arrival",
        "paxos/requests",
        "            if command.session >= slot_out:\n",
        "            if False:\n",
    ),
    Slip(
        "a session applied out of turn",
        "paxos/session_table",
        "            outcome.status = AHEAD\n            return 0\n",
        "            session.last = session.acknowledged = command.sequence - 1\n"
        "            return self.apply_in(session, command, context, machine, outcome)\n",
    ),
    Slip(
        "a repeated command applied again",
        "paxos/session_table",
        "        if command.sequence <= session.last:\n",
        "        if command.sequence < session.last:\n",
    ),
]


def build(slip: Slip, place: Path) -> Path:
    """Builds the broken core under `place`; what to put on PYTHONPATH."""
    name = f"{slip.module}.pyx"
    text = (CORE / name).read_text(encoding="utf-8")
    for old, new in ((slip.old, slip.new), *slip.more):
        assert text.count(old) == 1, f"{slip.name}: {old!r} stands {text.count(old)} times in {name}"
        text = text.replace(old, new)
    return build_changed(place, {name: text})


def simulate(library: Path, seeds: int, place: Path) -> tuple[int, str]:
    """Runs seeds until a promise is broken: (how many seeds that took, 0 for none; what was said)."""
    command = [sys.executable, "-m", "multipaxos", "simulate", "--seeds", f"0:{seeds}", "--json", "--jobs", "1"]
    command += ["--first", "--diagrams", str(place)]
    done = subprocess.run(command, cwd=place, env=on_path(library), capture_output=True, text=True)
    if done.returncode not in (0, 1) or not done.stdout:
        return -1, done.stderr[-2000:]
    total = json.loads(done.stdout)
    return (total["seeds"] if total["violations"] else 0), done.stderr


def row(slip: Slip) -> str:
    """Builds, simulates, and tells."""
    with tempfile.TemporaryDirectory(prefix="multipaxos-broken-") as place:
        took, said = simulate(build(slip, Path(place)), slip.seeds, Path(place))
    told = said.partition("\n")[0].partition(" (seed ")[0].replace("|", "/")
    return f"| {slip.name} | `{slip.module}` | {took if took > 0 else '**not found**'} | {told[:100]} |"


def main() -> None:
    """The table, a row as soon as it is known."""
    print("| broken core | module | seeds | what gave it away |\n| --- | --- | --- | --- |", flush=True)
    with ThreadPoolExecutor(CORES) as pool:
        for line in pool.map(row, SLIPS):
            print(line, flush=True)


if __name__ == "__main__":
    main()
