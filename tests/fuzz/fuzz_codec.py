"""Hostile bytes for the codec: any bytes are a message, or refused with a typed error.

Properties. A message that was decoded encodes again, and decodes to the same. pycapnp reads the frames that the codec
accepts the same way, and the codec reads or finally refuses the frames that pycapnp rewrites. Nothing is read of an
incomplete frame. A run holds the commands of its phase 2a, in the codec's own layout. A stream splits into frames and a
rest, and no byte is lost.
"""

from __future__ import annotations

from multipaxos.wire import codec
from multipaxos.wire.codec import CodecError
from multipaxos.wire.schema import flatten
from tests.fuzz.harness import main

WITHOUT_FIELDS = {"hello", "status_reply"}
READERS = (codec.decode_message, codec.decode_phase2a, codec.decode_request, codec.decode_response)


def seeds() -> list[bytes]:
    """One frame of every kind, and a stream of two."""
    commands = [(1, n, 1, 0, b"\3\1\0kvalue", 7 + n // 2) for n in range(1, 4)]
    run = codec.run_frame(codec.encode_phase2a(1 << 24, 1, 5, (0, 1, 1), commands))
    pvalues = [{"first": 1, "end": 3, "run": run}]
    decided = {"decided_ballot": 1, "decided_first": 1, "decided_end": 2}
    promise = {"end": codec.SLOTS_END, "mark": 1, "pvalues": pvalues}
    frames = [
        codec.encode_phase2a(1 << 24, 1, 5, (1 << 24, 1, 1), commands),
        codec.encode_request(commands),
        codec.encode_response(1, [(1, 5, 0, b"answer")]),
        codec.encode("phase1a", ballot=1 << 24, first=1),
        codec.encode("phase1b", ballot=1 << 24, first=1, **promise),
        codec.encode("phase2b", ballot=1 << 24, first=1, end=4, mark=1),
        codec.encode("decision", ballot=1 << 24, first=1, end=4),
        codec.encode("fetch", first=1, end=4),
        codec.encode("fetched", first=1, end=4, mark=1, pvalues=pvalues),
        codec.encode("ping", ballot=1, nonce=2, slot_out=3, voting=True, state_slot=2, state_hash=9, processes=[0, 8]),
        codec.encode("pong", ballot=1, nonce=2, slot_out=3, leading=True, quorum=True, **decided),
        codec.encode("founding", incarnation=1, fresh=True, incarnations=[1, 2, 3]),
        codec.encode("leading", ballot=1 << 24),
        codec.encode("status_request", nonce=5),
        codec.encode("piece", left=5, data=b"a part"),
    ]
    return [*frames, frames[3] + frames[1]]


def read(frame: bytes | memoryview) -> dict[str, object] | str:
    """The message, or the name of its fault."""
    try:
        return codec.decode_message(frame)
    except CodecError as error:
        return error.fault


def encoded(message: dict[str, object]) -> bytes:
    """The frame of a message that was decoded."""
    fields = {name: value for name, value in message.items() if name != "kind"}
    return codec.encode(message["kind"], **fields)


def check_message(frame: bytes, message: dict[str, object]) -> None:
    """A frame that decodes. One byte further on in memory it decodes the same; cut, it does not."""
    assert read(memoryview(b"-" + frame)[1:]) == message
    assert read(frame[: len(frame) // 2]) == "partial"
    assert read(frame[:-1]) == "partial"
    if message["kind"] in WITHOUT_FIELDS:
        check_foreign(frame)  # the codec looks at no more than the kind: pycapnp reads them
    else:
        assert read(flatten(frame)) == message
        assert read(encoded(message)) == message


def check_foreign(frame: bytes) -> None:
    """In another layout: pycapnp rewrites it, or refuses it."""
    try:
        flat = flatten(frame)
    except ValueError:
        return
    assert read(flat) not in ("foreign", "partial")


def check_run(frame: bytes) -> None:
    """The run of a phase 2a, as a leader keeps it."""
    run = codec.run_frame(frame)
    if run is None:
        return
    assert codec.decode_phase2a(run) == codec.decode_phase2a(frame)
    assert codec.run_frame(run) == run
    assert codec.decode_phase2a(codec.run_frame(run, (7, 8, 9)))[3] == (7, 8, 9)


def check_stream(data: bytes) -> None:
    """A stream of frames, as a link brings it."""
    try:
        frames, rest = codec.split(data)
    except CodecError:
        return
    assert b"".join(frames) + rest == data
    assert codec.split(rest) == ([], rest)


def run_one(data: bytes) -> None:
    """Runs one input through everything that reads bytes."""
    for reader in READERS:
        try:
            reader(data)
        except CodecError:
            continue
    message = read(data)
    if isinstance(message, dict):
        check_message(data, message)
    elif message == "foreign":
        check_foreign(data)
    check_run(data)
    check_stream(data)


if __name__ == "__main__":
    main(run_one, seeds())
