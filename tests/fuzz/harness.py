"""Shared by the fuzz targets: an input read as a program, and the way to libFuzzer.

Theory. An input is a string of choices, read from its front; after its end every choice is 0. So each prefix of an
input is an input, a mutation changes what comes after it and not what came before, and whole frames may stand in an
input: seeds are made from real ones.

Rules. Only `main` imports atheris, so that tests can run `run_one` on the seeds without it. A target must not catch an
exception that it does not expect: every exception that leaves `run_one` is a finding.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path


class Program:
    """The choices of one input."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def more(self) -> bool:
        """Is anything left?"""
        return self.at < len(self.data)

    def byte(self) -> int:
        """One byte."""
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def below(self, end: int) -> int:
        """A number of [0, end), end <= 256."""
        return self.byte() % end

    def number(self) -> int:
        """A number of 64 bits."""
        return int.from_bytes(self.read(8), "little")

    def read(self, size: int) -> bytes:
        """At most so many bytes."""
        self.at += size
        return self.data[self.at - size : self.at]

    def chunk(self) -> bytes:
        """Bytes after their 16-bit length, as `chunk` writes them."""
        return self.read(int.from_bytes(self.read(2), "little"))


def chunk(data: bytes) -> bytes:
    """What `Program.chunk` reads, for seeds."""
    return len(data).to_bytes(2, "little") + data


def write_seeds(corpus: Path, seeds: Iterable[bytes]) -> None:
    """Writes inputs into the folder with which libFuzzer begins."""
    for seed in seeds:
        (corpus / hashlib.sha256(seed).hexdigest()[:40]).write_bytes(seed)


def main(run_one: Callable[[bytes], None], seeds: Iterable[bytes]) -> None:
    """Runs until libFuzzer ends it. If the last argument is a folder, it is the corpus; a file is run once."""
    import atheris

    if Path(sys.argv[-1]).is_dir():
        write_seeds(Path(sys.argv[-1]), seeds)
    atheris.Setup(sys.argv, run_one)
    atheris.Fuzz()
