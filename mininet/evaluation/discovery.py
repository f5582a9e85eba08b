"""What a package's modules define: a new system or experiment is a new file, and needs no registration."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TypeVar

T = TypeVar("T")


def classes_in(package: str, kind: type[T]) -> list[type[T]]:
    """The subclasses of `kind` that the modules of a package define, in the order of the modules' names."""
    found: list[type[T]] = []
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, kind) and value.__module__ == module.name:
                found.append(value)
    return found
