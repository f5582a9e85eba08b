"""Mutants: for each trap of the protocol the one-line slip that falls into it.

A mutant is a copy of the compiled package in which one module was built from changed source (`mutation.py`); a module
of the Python side is named with its suffix. The shipped core knows nothing of it and pays nothing. `Slip.old` has to
stand in the source exactly once, so that no slip becomes stale unnoticed. `seeds`: those among which `multipaxos
simulate` has to find the mutant.

Not here, because a thousand seeds do not find them: a refusal that counts as an adoption of nothing (`tests/node` and
`tests/transcripts/refusal.txt` hold that rule), an own acceptor that is asked only once (`tests/node`); and, because
another rule covers it, a vote below the mark. Neither is an older record that stands for a damaged one
(`tests/node/test_holes.py`).
"""

from __future__ import annotations

from tests.simulation.mutants_of_cost import SLIPS_OF_COST
from tests.simulation.slip import Slip

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
        "node/journal",
        "Promise(self.ticket(), node_id, data)",
        "Promise(0, node_id, data)",
    ),
    Slip(
        "a ballot promised that left no trace on the disk",
        "node/voting",
        "            self.election.heard(self.context.now_ns)\n"
        "        elif message.ballot == self.pulled_ballot and message.part > self.pulled_part:\n"
        "            self.election.passive(self.context.now_ns)\n"
        "        self.journal.put_ballot(self.acceptor.ballot_num)\n",
        "            self.election.heard(self.context.now_ns)\n"
        "            self.journal.put_ballot(self.acceptor.ballot_num)\n",
    ),
    Slip(
        "a vote sent before its sync",
        "node/journal",
        "Ack(self.ticket(), ballot, first, end, node_id)",
        "Ack(0, ballot, first, end, node_id)",
    ),
    Slip(
        "an answer to a repeat sent before the first one's sync",
        "node/voting",
        "            if self.acceptor.voting:\n                self.journal.hold_ack(link.node_id, run",
        "            if self.acceptor.voting and not vote.changed:\n"
        "                put_phase2b(&link.outgoing, run.ballot, vote.first, vote.end, self.acceptor.mark)\n"
        "            elif self.acceptor.voting:\n                self.journal.hold_ack(link.node_id, run",
    ),
    Slip(
        "our own vote counted before its sync",
        "node/delivery",
        "            self.journal.hold_ack(self.context.node_id, run.ballot, vote.first, vote.end)\n        return 0",
        "            self.leader.on_phase2b(self.context.node_id, run.ballot, vote.first, vote.end, 1)\n"
        "        return 0",
    ),
    Slip(
        "a phase 1a sent before its ballot is durable",
        "node/leading",
        "        self.scout_ticket = self.journal.ticket()\n",
        "        self.scout_ticket = self.journal.durable\n",
    ),
    Slip(
        "a ballot reused after a restart",
        "node/leading",
        "        self.journal.put_ballot(self.leader.ballot)\n",
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
        "put_phase1b(out, self.ballot_num, part, end, self.mark,",
        "put_phase1b(out, self.ballot_num, part, end, 1,",
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
        "node/catch_up",
        "if slot >= first and row != NULL and row.run != NULL and row.ballot >= ballot:",
        "if slot >= first and row != NULL and row.run != NULL:",
    ),
    Slip(
        "a watermark believed below its first slot",
        "node/catch_up",
        "if slot >= first and row != NULL and row.run != NULL and row.ballot >= ballot:",
        "if row != NULL and row.run != NULL and row.ballot >= ballot - (ballot if slot < first else 0):",
    ),
    Slip(
        "a restart at which the older record holds",
        "node/recovery",
        "if row.run != NULL and row.votes > record.index:",
        "if row.run != NULL and row.votes < record.index:",
    ),
    Slip(
        "an overlapping record that hides its elder",
        "node/recovery",
        "        for first, index, value in records:\n            record = judge(",
        "        for first, index, value in {one[0]: one for one in records}.values():\n            record = judge(",
    ),
    Slip(
        "a record of a lower ballot that hides a higher one",
        "node/journal",
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
        "node/journal",
        "            self.decided_put = self.emitted_out\n",
        "            self.decided_put = self.emitted_out + 1\n",
    ),
    Slip(
        "catch-up that leaves slots out of the log",
        "node/catch_up",
        "                if self.acceptor.learn(run, entry.first, entry.end):\n",
        "                if self.acceptor.learn(run, entry.first, entry.end) and entry.first & 1:\n",
    ),
    Slip(
        "catch-up that skips a slot",
        "paxos/replica",
        "            if row == NULL or row.run == NULL:\n                break\n            if self.jobs",
        "            if row == NULL or row.run == NULL:\n"
        "                row = self.decisions.find(self.slot_out + 1)\n"
        "                if row == NULL or row.run == NULL:\n"
        "                    break\n"
        "                self.slot_out += 1\n"
        "            if self.jobs",
    ),
    Slip(
        "a wiped node that votes",
        "node/node",
        "founders is not None and context.is_acceptor, part_bytes)",
        "context.is_acceptor, part_bytes)",
        more=(
            (
                "node/links",
                "return self.founders is not None and link.incarnation == self.founders[link.node_id]",
                "return True",
            ),
        ),
    ),
    Slip(
        "a founding by emptiness",
        "membership/founding",
        "all([report == (True, view) for report in self.reports.values()])",
        "all([report[0] for report in self.reports.values()])",
    ),
    Slip(
        "a founding by a node that belongs to a cluster",
        "membership/founding",
        "return self.fresh and not self.cluster_id",
        "return self.fresh",
    ),
    Slip(
        "a command that lost its leader not proposed again",
        "paxos/replica",
        "            if row != NULL and row.run != NULL and not row.flags:\n"
        "                self.requests.queue.push(row.run, slot, self.slot_out)\n",
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
        "            outcome.status = AHEAD\n",
        "            acknowledge(session, session.last, False)\n"
        "            session.last = session.acknowledged = command.sequence - 1\n"
        "            return self.apply_in(session, command, context, machine, outcome)\n",
    ),
    Slip(
        "a repeated command applied again",
        "paxos/session_table",
        "        if command.sequence <= session.last:\n",
        "        if command.sequence < session.last:\n",
    ),
    Slip(
        "a write whose answer is not kept",
        "machine/key_value",
        "        return command[0] == GET or command[0] == SCAN\n",
        "        return True\n",
    ),
    Slip(
        "a damaged record believed",
        "wire/record",
        "verdict = WHOLE if frame_sum == sum_said and",
        "verdict = WHOLE if",
    ),
    Slip(
        "a damaged record taught",
        "node/catch_up",
        "(record.index, value if record.verdict == WHOLE else None)",
        "(record.index, value)",
    ),
    Slip(
        "a promise over a hole",
        "paxos/acceptor",
        "        return first >= self.holes.end and",
        "        return",
    ),
    Slip(
        "parts of an answer whose slots have left memory",
        "paxos/acceptor",
        " and max(part, self.mark) >= self.accepted.base\n",
        "\n",
    ),
    Slip(
        "a vote in a hole",
        "paxos/acceptor",
        "        if first < self.holes.end and first < end:\n            clear =",
        "        if False:\n            clear =",
    ),
    Slip(
        "a vote for what found no room in memory",
        "paxos/acceptor",
        "        if not has_room:\n            end = run.first\n",
        "        if not has_room:\n            return Vote(True, False, run.first, run.first + run.count)\n",
    ),
    Slip(
        "a configuration believed",
        "config/charter.py",
        "        if kept != self.encode():\n",
        "        if False:\n",
    ),
    Slip(
        "a damaged key believed",
        "storage/keys.py",
        "    if sum_of_keys(pairs) != known:\n",
        "    if False:\n",
    ),
    Slip(
        "a replica that differs and goes on serving",
        "node/comparing",
        "            self.serving.on_differs()\n",
        "",
    ),
    Slip(
        "a replica that differs and is not told",
        "node/agreement",
        "alike >= self.majority\n",
        "alike > len(bin(self.replicas))\n",
    ),
    Slip(
        "a superseded incarnation let in",
        "transport/meetings.py",
        "        if newest != life and number <= made:\n",
        "        if False:\n",
        more=(
            (
                "transport/meetings.py",
                "        if (node_id, life.incarnation) in self._replaced:\n",
                "        if False:\n",
            ),
            ("transport/meetings.py", "        if (node_id, life) in self._over:\n", "        if False:\n"),
        ),
    ),
    Slip(
        "a job over a command that the machine is not to apply",
        "paxos/jobs",
        "                if not self.sessions.will_apply(&command, before, &room):\n                    break\n",
        "                self.sessions.will_apply(&command, before, &room)\n",
    ),
    Slip(
        "a refused slot in a job",
        "paxos/jobs",
        "            if command.kind == APPLY and slot not in refused:\n",
        "            if command.kind == APPLY:\n",
    ),
    Slip(
        "refused slots that a fresh node does not take",
        "node/joining",
        "                self.take_refused_slots(link)\n",
        "                pass\n",
    ),
    Slip(
        "a nonce ignored",
        "paxos/session_table",
        "        return session if session != NULL and session.nonce == nonce else NULL\n",
        "        return session\n",
    ),
    Slip(
        "an order of use that is not replicated",
        "paxos/session_table",
        "        self.used(session, context.slot)\n        if command.sequence >",
        "        if session.link:\n            self.used(session, context.slot)\n        if command.sequence >",
    ),
    Slip(
        "openings without end that evict sessions in use",
        "paxos/session_table",
        "        return self.fresh_oldest if self.fresh > self.semantics.fresh_sessions_max else self.oldest\n",
        "        return self.oldest\n",
    ),
    Slip(
        "a sum of answers without a bound",
        "paxos/session_table",
        "        return self.keep_bound() if self.keepers.kept_bytes > self.keepers.bound else 0\n",
        "        return 0\n",
    ),
    Slip(
        "a closed session believed",
        "paxos/session_table",
        "            outcome.status = OK\n            self.forget(session)\n            return 0\n",
        "            outcome.status = OK\n            return 0\n",
    ),
    *SLIPS_OF_COST,
]
