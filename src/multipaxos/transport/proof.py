"""The proof of the cluster's key in a hello.

Theory. A proof is an HMAC-SHA256 under the key over everything that both sides have said in this handshake, up to and
including the hello that carries it. So it covers both nonces, both identities, the kind of link and every version; and
it says which hello of the handshake it belongs to, hence which side dialled, because the first, the second and the
third hello have one, two and three hellos before the HMAC. An answer sent back as a question, a hello of another
handshake, or a hello changed on its way proves nothing.

Rules.
- The proof in the first hello shows that a holder of the key made it once, which is enough to be told who answers. That
  a holder of the key is at the other side now is shown by the second and the third: they cover the receiver's nonce.
- The side that dials proves the first of its keys; an answer proves the key that the question has proved.
- Proofs are compared in constant time, and the key is in no message and no error.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence
from dataclasses import fields

from multipaxos.config.keys import Keys
from multipaxos.wire.schema import Hello

LABEL = b"multipaxos-handshake "
COVERED = [field.name for field in fields(Hello) if field.name not in ("proof", "refusal")]


def proof_of(key: bytes, hellos: Sequence[Hello]) -> bytes:
    """The proof in the last of these hellos, which are those of a handshake from its first on."""
    said = [[getattr(hello, name) for name in COVERED] for hello in hellos]
    return hmac.digest(key, LABEL + json.dumps(said, separators=(",", ":")).encode(), "sha256")


def proved_key(keys: Keys, hellos: Sequence[Hello]) -> bytes | None:
    """Which of the keys the last of these hellos proves; None if it proves none of them."""
    for key in keys:
        if hmac.compare_digest(proof_of(key, hellos), hellos[-1].proof):
            return key
    return None
