"""Where things lie in the source tree, for tests that read it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXT = ROOT / "ext" / "multipaxos"  # the compiled core's sources
PACKAGE = ROOT / "src" / "multipaxos"
TOOLS = ROOT / "tools"
