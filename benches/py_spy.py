"""Samples the Python functions of a process with py-spy: which functions hold the GIL, by their own time."""

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
"""Samples per second. Each sample stops the process for a moment."""

_PY_SPY: Final = Path(sys.executable).with_name("py-spy")
_FRAME: Final = re.compile(r"^(.*) \((.*?)(?:\.py)?(?::\d+)?\)$")


def is_installed() -> bool:
    return _PY_SPY.exists()


@contextmanager
def sampling(pid: int, output: Path) -> Iterator[None]:
    """Sample the thread that holds the GIL until the block ends.

    Raises:
        RuntimeError: py-spy is not permitted to sample, or found nothing to sample.
    """
    command = [str(_PY_SPY), "record", "--pid", str(pid), "--rate", str(RATE_HZ), "--gil", "--function"]
    command += ["--format", "raw", "--output", str(output)]
    with recording("py-spy", command, output):
        yield


def own_time(lines: Iterable[str]) -> Counter[str]:
    """Count the samples that have each function innermost, as `module.function`, from lines such as `outer;inner 3`.

    C functions (the core, SQLite, asyncio) have no frame, and count as a part of their caller.
    """
    samples: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        found = _FRAME.match(stack.rpartition(";")[2])
        if found:
            samples[f"{found[2].replace('/', '.')}.{found[1]}"] += int(count)
    return samples
