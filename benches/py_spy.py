"""Samples the Python of a process by py-spy: which functions hold the interpreter, by their own time."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benches.recorder import recording

RATE_HZ: Final = 499
"""Each sample stops the process for a moment."""

_PY_SPY: Final = Path(sys.executable).with_name("py-spy")
_FRAME: Final = re.compile(r"^(.*) \((.*?)(?:\.py)?(?::\d+)?\)$")


def is_installed() -> bool:
    return _PY_SPY.exists()


@contextmanager
def sampling(pid: int, output: Path) -> Iterator[None]:
    """Sample the thread that holds the GIL until the block ends.

    Raises:
        RuntimeError: py-spy may not, or there was nothing to sample.
    """
    command = [str(_PY_SPY), "record", "--pid", str(pid), "--rate", str(RATE_HZ), "--gil", "--function"]
    command += ["--format", "raw", "--output", str(output)]
    with recording("py-spy", command, output):
        yield


def own_time(lines: Iterable[str]) -> Counter[str]:
    """Samples of each function, as `module.function`, from lines of `outer;inner 3`: those with it innermost.

    What it calls in C (the core, SQLite, asyncio's own) has no frame and counts as its own.
    """
    samples: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        found = _FRAME.match(stack.rpartition(";")[2])
        if found:
            samples[f"{found[2].replace('/', '.')}.{found[1]}"] += int(count)
    return samples
