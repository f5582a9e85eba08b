"""Labels: a message in one line, for diagrams, traces and transcripts.

Theory. A label names the kind of a message and what a reader of the protocol wants to know of it, such as
``phase2a 1.0 slots 5-7: x y z``: ballots as round.leader, ranges of slots with both ends, commands by their payload.

Rules. Every frame has a label, also bytes that are no message, and it is one line. Equal frames have equal labels. Long
lists and payloads are cut, so a label stays short.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from multipaxos.paxos import ballot
from multipaxos.paxos.settings import SETTING_BYTES
from multipaxos.wire import codec
from multipaxos.wire.codec import CodecError, CommandKind, ReplyStatus

NAMED_MAX = 6  # commands, replies or runs that one label names
PAYLOAD_CHARACTERS_MAX = 24
_STATUSES: Mapping[int, str] = {status: status.name.lower() for status in ReplyStatus}


def label_of(frame: bytes) -> str:
    """The label of any bytes."""
    try:
        message: Mapping[str, Any] = codec.decode_message(frame)
    except CodecError as error:
        return f"{len(frame)} bytes that are no message ({error.fault})"
    return label_of_message(message)


def label_of_message(message: Mapping[str, Any]) -> str:
    """The label of a message as ``codec.decode_message`` gives it."""
    kind = str(message["kind"])
    rest = _LABELS.get(kind)
    return f"{kind} {rest(message)}".rstrip() if rest else kind


# -- parts of labels


def _ballot(number: int) -> str:
    """round.leader; a number that no leader makes stays a number."""
    try:
        return ballot.describe(number)
    except ValueError:
        return f"ballot {number}"


def _some(parts: Sequence[str], between: str = " ") -> str:
    """The first few, and how many more there are."""
    more = f" and {len(parts) - NAMED_MAX} more" if len(parts) > NAMED_MAX else ""
    return between.join(parts[:NAMED_MAX]) + more


def _payload(payload: bytes) -> str:
    """Readable bytes as they are, others in hexadecimal; a long payload is cut."""
    text = payload.decode("ascii", "replace")
    text = text if re.fullmatch(r"[!-~]+", text) else payload.hex()
    return text if len(text) <= PAYLOAD_CHARACTERS_MAX else text[: PAYLOAD_CHARACTERS_MAX - 1] + "…"


def _command(command: Mapping[str, Any]) -> str:
    if command["kind"] == CommandKind.NOOP:
        return "noop"
    if command["kind"] == CommandKind.OPEN_SESSION:
        return "open"
    if command["kind"] == CommandKind.RECONFIGURE:
        return "reconfigure"
    if command["kind"] == CommandKind.CLOSE_SESSION:
        return "close"
    if command["kind"] == CommandKind.SETTING:
        return _setting(command["payload"])
    return _payload(command["payload"]) or "empty"


def _setting(payload: bytes) -> str:
    """Name and number of a setting, `2=3`; nothing of what is none."""
    if len(payload) != SETTING_BYTES:
        return "setting"
    return f"setting {int.from_bytes(payload[:2], 'little')}={int.from_bytes(payload[2:], 'little')}"


def _commands(message: Mapping[str, Any]) -> str:
    return _some([_command(command) for command in message["commands"]])


def _span(first: int, end: int) -> str:
    """A range of slots as numbers, ``5`` or ``5-7``; it may be empty."""
    if first >= end:
        return "none"
    return f"{first}" if end - first == 1 else f"{first}-{end - 1}"


def _slots(first: int, end: int) -> str:
    """A range of slots in words; it may be empty."""
    if first >= end:
        return "no slots"
    return f"{'slot' if end - first == 1 else 'slots'} {_span(first, end)}"


def _range(message: Mapping[str, Any]) -> str:
    return _slots(message["first"], message["end"])


def _mark(message: Mapping[str, Any]) -> str:
    return f" mark {message['mark']}" if message["mark"] > 1 else ""


def _decided(first: int, end: int, at: str = "") -> str:
    """A watermark: [first, end) is decided, and so is everything below ``first``."""
    if end <= 1:
        return "nothing decided"
    return f"decided {_span(first, end)}{at}" if first < end else f"decided below {end}"


def _along(message: Mapping[str, Any]) -> str:
    """The watermark that a phase 2a or a pong brings along; nothing where nothing is decided."""
    if message["decided_end"] <= 1:
        return ""
    at = "" if message["decided_ballot"] == message["ballot"] else f"@{_ballot(message['decided_ballot'])}"
    return f"; {_decided(message['decided_first'], message['decided_end'], at)}"


def _pvalues(message: Mapping[str, Any]) -> str:
    """The slots of pvalues, each range with the ballot at which its run was accepted: ``: 3@1.0 4-9@2.1``."""
    parts = []
    for pvalues in message["pvalues"]:
        try:
            at = _ballot(codec.decode_phase2a(pvalues["run"])[0])
        except CodecError:
            at = "no run"
        parts.append(f"{_span(pvalues['first'], pvalues['end'])}@{at}")
    return f": {_some(parts)}" if parts else ""


# -- one function for each kind that says more than its numbers


def _phase1a(message: Mapping[str, Any]) -> str:
    part = f" part {message['part']}" if message["part"] > message["first"] else ""
    return f"{_ballot(message['ballot'])} from {message['first']}{part}"


def _phase1b(message: Mapping[str, Any]) -> str:
    at = _ballot(message["ballot"])
    if message["first"] == codec.SLOTS_END:
        return f"{at} refuses{_mark(message)}"
    part = "" if message["end"] == codec.SLOTS_END else f" up to {message['end'] - 1}"
    return f"{at} from {message['first']}{part}{_mark(message)}{_pvalues(message)}"


def _phase2a(message: Mapping[str, Any]) -> str:
    slots = _slots(message["first"], message["first"] + len(message["commands"]))
    return f"{_ballot(message['ballot'])} {slots}: {_commands(message)}{_along(message)}"


def _phase2b(message: Mapping[str, Any]) -> str:
    return f"{_ballot(message['ballot'])} {_range(message)}{_mark(message)}"


def _decision(message: Mapping[str, Any]) -> str:
    return f"{_ballot(message['ballot'])} {_decided(message['first'], message['end'])}"


def _pong(message: Mapping[str, Any]) -> str:
    leading = " leading" + " with a quorum" * message["quorum"] if message["leading"] else ""
    missing = f" missing from {message['missing']}" if message["missing"] else ""
    return f"{_ballot(message['ballot'])} out {message['slot_out']}{leading}{missing}{_along(message)}"


def _founding(message: Mapping[str, Any]) -> str:
    known = sum(1 for incarnation in message["incarnations"] if incarnation)
    return f"{'fresh, heard of' if message['fresh'] else 'founders'} {known}"


def _reply(reply: Mapping[str, Any]) -> str:
    at = f" slot {reply['slot']}" if reply["slot"] else ""
    return f"{reply['sequence']} {_STATUSES.get(reply['status'], reply['status'])}{at}"


def _response(message: Mapping[str, Any]) -> str:
    if any(reply["status"] == ReplyStatus.OPENED for reply in message["replies"]):
        return f"session {message['session']} open"
    return _some([_reply(reply) for reply in message["replies"]], ", ")


_LABELS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "phase1a": _phase1a,
    "phase1b": _phase1b,
    "phase2a": _phase2a,
    "phase2b": _phase2b,
    "decision": _decision,
    "fetch": _range,
    "fetched": lambda message: f"{_range(message)}{_mark(message)}{_pvalues(message)}",
    "ping": lambda message: f"{_ballot(message['ballot'])} out {message['slot_out']}",
    "pong": _pong,
    "founding": _founding,
    "request": _commands,
    "response": _response,
    "leading": lambda message: _ballot(message["ballot"]),
    "piece": lambda message: f"of {len(message['data'])} bytes, {message['left']} left",
}
