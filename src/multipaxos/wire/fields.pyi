from collections.abc import Mapping
from typing import Final

FIELDS: Final[Mapping[str, tuple[str, ...]]]
ELEMENTS: Final[Mapping[str, tuple[str, ...]]]
