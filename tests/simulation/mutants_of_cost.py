"""Mutants of cost: cores that keep every promise and carry or hold too much.

They show on links with a rate only, so of every eight seeds the one is run in which links have one, if nothing else
makes a scenario of its own.
"""

from __future__ import annotations

from tests.simulation.slip import SLOW, Slip

SLIPS_OF_COST = [
    Slip(
        "a phase 2a repeated behind its copy",
        "node/delivery",
        "            if link.waiting():\n                continue\n"
        "            if link.probe_ns and link.alive_ns >= link.probe_ns:\n"
        "                self.repeat_to(link, link.probe_end)\n",
        "            self.repeat_to(link, link.sent_end)\n            if link.probe_ns:\n",
        SLOW,
    ),
    Slip(
        "a fetch answered again while its answer waits",
        "node/catch_up",
        "        if message.first == link.answered_first and not link.has_left(link.answered_place):\n"
        "            return 0\n",
        "",
        SLOW,
        more=(
            (
                "node/catch_up",
                "        if self.fetching and link is not None and self.leading.patience.is_arriving(link):\n",
                "        if False:\n",
            ),
        ),
    ),
    Slip(
        "a part of a phase 1b sent again while it waits",
        "node/voting",
        "        if self.is_on_its_way(link, message):\n            return 0\n",
        "",
        SLOW,
        more=(("node/leading", "or not self.patience.is_arriving(link)):\n", "or True):\n"),),
    ),
    Slip(
        "a phase 1b pushed whole",
        "node/voting",
        "                self.acceptor.answer_phase1a(&answer, max(message.first, message.part), link.budget)\n",
        "                slot = max(message.first, message.part)\n"
        "                while slot < SLOTS_END:\n"
        "                    size = answer.size\n"
        "                    self.acceptor.answer_phase1a(&answer, slot, link.budget)\n"
        "                    decode(answer.data + size, answer.size - size, &part)\n"
        "                    slot = part.end\n",
        SLOW,
        more=(
            (
                "node/voting",
                "        cdef Bytes answer = Bytes(NULL, 0, 0)\n        if not self.acceptor.voting",
                "        cdef Bytes answer = Bytes(NULL, 0, 0)\n        cdef Message part\n"
                "        cdef size_t size\n        cdef uint64_t slot\n        if not self.acceptor.voting",
            ),
        ),
    ),
    Slip(
        "a scout that starts its parts anew",
        "node/leading",
        "scout.first, scout.covered[link.node_id])",
        "scout.first, scout.first)",
        SLOW,
    ),
    Slip(
        "pings and pongs behind bulk",
        "node/pings",
        "                put_ping(&link.outgoing, ",
        "                put_ping(&link.bulk, ",
        SLOW,
        more=(("node/pings", "        put_pong(&link.outgoing, ", "        put_pong(&link.bulk, "),),
    ),
    Slip(
        "long runs ahead of pings",
        "node/delivery",
        "run.size <= max(<uint64_t>CUT_BYTES, link.budget // SHORT_SHARE))",
        "True)",
        SLOW,
    ),
    Slip(
        "a link that may hold any number of bytes",
        "node/links",
        "            link.unsent += handed\n",
        "",
        SLOW,
        more=(("node/links", "        link.unsent = backlog\n", "        link.unsent = 0\n"),),
    ),
    Slip(
        "proposals in flight without a bound",
        "node/leading",
        "self.delivery.flight.longest())",
        "<uint64_t>-1)",
        SLOW,
    ),
]
