"""Hostile bytes for the codec: any bytes are a message, or refused with a typed error; nothing else.

Properties. What decodes encodes again, and decodes to the same. What the codec accepts pycapnp reads the same way. A
frame cut anywhere is a partial one, never a crash.
"""

import sys

import atheris

from multipaxos import codec
from multipaxos.codec import CodecError
from multipaxos.schema import flatten

WITHOUT_FIELDS = {"hello", "status_request", "status_reply"}


def frames() -> list[bytes]:
    """One of every kind, to begin with."""
    commands = [(1, n, 1, 0, b"\3\1\0kvalue") for n in range(1, 4)]
    run = codec.run_frame(codec.encode_phase2a(1 << 16, 1, 5, (0, 1, 1), commands))
    pvalues = [{"first": 1, "end": 3, "run": run}]
    rejoins = [{"node": 1, "slot": 2, "incarnation": 3}]
    return [
        codec.encode_phase2a(1 << 16, 1, 5, (1 << 16, 1, 1), commands),
        codec.encode_request(commands),
        codec.encode_response(1, [(1, 5, 0, b"answer")]),
        codec.encode("phase1a", ballot=1 << 16, first=1),
        codec.encode("phase1b", ballot=1 << 16, first=1, end=2**64 - 1, mark=1, incarnation=7, number=-1,
                     rejoins=rejoins, pvalues=pvalues),
        codec.encode("phase2b", ballot=1 << 16, first=1, end=4, mark=1),
        codec.encode("decision", ballot=1 << 16, first=1, end=4),
        codec.encode("fetch", first=1, end=4),
        codec.encode("fetched", first=1, end=4, mark=1, pvalues=pvalues),
        codec.encode("ping", ballot=1, nonce=2, slot_out=3, voting=True),
        codec.encode("pong", ballot=1, nonce=2, slot_out=3, leading=True, quorum=True, decided_ballot=1,
                     decided_first=1, decided_end=2),
        codec.encode("founding", incarnation=1, fresh=True, incarnations=[1, 2, 3]),
        codec.encode("leading", ballot=1 << 16),
    ]  # fmt: skip


def same(frame: bytes) -> None:
    """A frame that decodes."""
    message = codec.decode_message(frame)
    kind = message.pop("kind")
    if kind in WITHOUT_FIELDS:
        return
    again = codec.decode_message(codec.encode(kind, **message))
    again.pop("kind")
    assert again == message, (kind, message, again)
    flat = codec.decode_message(flatten(frame))
    flat.pop("kind")
    assert flat == message, (kind, message, flat)


def run_one(data: bytes) -> None:
    """All that reads bytes."""
    for read in (codec.decode_message, codec.decode_phase2a, codec.decode_request, codec.decode_response):
        try:
            read(data)
        except CodecError:
            continue
    try:
        same(data)
    except CodecError:
        pass
    try:
        split, rest = codec.split(data)
    except CodecError:
        return
    assert b"".join(split) + rest == data
    try:
        flatten(data)
    except ValueError:
        pass


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """libFuzzer's own change; now and then of a whole frame."""
    if seed % 16 == 0:
        known = frames()
        data = known[seed // 16 % len(known)]
    return bytes(atheris.Mutate(data, len(data)))[:max_size] if data else known_or(seed)


def known_or(seed: int) -> bytes:
    """A frame."""
    known = frames()
    return known[seed % len(known)]


def main() -> None:
    """Runs until libFuzzer ends it."""
    for frame in frames():
        run_one(frame)
    atheris.Setup(sys.argv, run_one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
