"""Calls without a client, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from multipaxos.client.call import Call, Calls


def calls_here(begin: Callable[[Call[Any]], None] = lambda call: None) -> Calls:
    """Those of a client in the loop that runs; it does nothing with them."""
    calls = Calls(begin)
    calls.open(asyncio.get_running_loop())
    return calls
