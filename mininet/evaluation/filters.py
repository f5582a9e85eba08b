"""Filters of what a host receives: a small program at the entry of its interface drops packets and counts them.

Theory. `tc` puts a classic BPF program before a host's IP stack. The program looks at a frame's type and source
address. It drops frames of sources that are cut off, and drops other frames with the probability of each loss, by the
kernel's own random numbers. The kernel counts the packets that such programs drop, for each host. This needs no
firewall, only `tc`, which limits the bandwidth anyway; and the packet has been on the wire by then, like a packet that
a network loses.

Rules. A change replaces the program at once: there is no moment without one. Only IPv4 is looked at: hosts have no IPv6
and know each other's link addresses. This module does not know why a packet is dropped.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from evaluation.errors import EvaluationError

# Classic BPF: (code, jump if true, jump if not, k). The operations that are used, and two verdicts of `tc`.
LOAD_HALF, LOAD_WORD, JUMP_EQUAL, JUMP_AT_LEAST, RETURN = 0x28, 0x20, 0x15, 0x35, 0x06
DROP, GO_ON = 2, 0xFFFFFFFF
ETHERTYPE_AT, SOURCE_AT, IPV4 = 12, 26, 0x0800
RANDOM = 0xFFFFF000 + 56  # the kernel's ancillary data: 32 random bits
SOURCES_MAX = 250  # a jump reaches 255 instructions

Instruction = tuple[int, int, int, int]


def program(cut_off: Iterable[str], losses: Iterable[float]) -> list[Instruction]:
    """A program that drops packets of the addresses `cut_off`, and of the others the shares `losses`, one after the
    other. Raises EvaluationError for too many addresses."""
    sources = sorted(int(ipaddress.IPv4Address(address)) for address in set(cut_off))
    if len(sources) > SOURCES_MAX:
        raise EvaluationError(f"{len(sources)} hosts cut off from one, {SOURCES_MAX} at most: use a smaller network")
    body: list[Instruction] = [(LOAD_WORD, 0, 0, SOURCE_AT)] if sources else []
    for source in sources:
        body += [(JUMP_EQUAL, 0, 1, source), (RETURN, 0, 0, DROP)]
    for loss in losses:
        below = round(loss * (1 << 32))
        if below >= 1 << 32:
            body += [(RETURN, 0, 0, DROP)]
        elif below > 0:
            body += [(LOAD_WORD, 0, 0, RANDOM), (JUMP_AT_LEAST, 1, 0, below), (RETURN, 0, 0, DROP)]
    head: list[Instruction] = [(LOAD_HALF, 0, 0, ETHERTYPE_AT), (JUMP_EQUAL, 1, 0, IPV4), (RETURN, 0, 0, GO_ON)]
    return [*head, *body, (RETURN, 0, 0, GO_ON)]


def bytecode(instructions: list[Instruction]) -> str:
    """The program as text that `tc` reads."""
    return ",".join([str(len(instructions)), *(" ".join(map(str, one)) for one in instructions)])


def parse(options: dict[str, object]) -> list[Instruction]:
    """The program in the options of `tc -json filter show`: what the kernel really has."""
    code = options.get("bytecode")
    instructions = code.get("insns", []) if isinstance(code, dict) else []
    return [(one["code"], one["jt"], one["jf"], one["k"]) for one in instructions]
