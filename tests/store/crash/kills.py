"""How many servers and commands were killed in this run, which `conftest.py` prints at its end."""

from __future__ import annotations

from collections import Counter
from typing import Final

WANTED: Final = 50
"""Of every run of all tests."""

WANTED_IN_FULL: Final = 500
"""Where FULL_TESTS is set."""

at_points: Final[Counter[str]] = Counter()
"""By the failpoint."""

at_any_time: Final[Counter[str]] = Counter()
"""By how many processes served."""


def total() -> int:
    return at_points.total() + at_any_time.total()
