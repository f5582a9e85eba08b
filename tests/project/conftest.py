"""What several tests of the project itself share."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from tests.support.places import TOOLS


@pytest.fixture(scope="module")
def tools() -> Iterator[Callable[[str], ModuleType]]:
    """Imports a program of the folder tools/, which finds the others there."""
    sys.path.insert(0, str(TOOLS))
    yield importlib.import_module
    sys.path.remove(str(TOOLS))
