"""Runs a program that samples a process, and ends it when enough was sampled."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_ATTACH_S: Final = 1.0


@contextmanager
def recording(name: str, command: Sequence[str], output: Path, ended: Collection[int] = (0,)) -> Iterator[None]:
    """Let a program record into a file until the block ends.

    Args:
        name: of the program, for the error.
        command: that samples until it gets a SIGINT.
        output: what it writes.
        ended: statuses with which it ends once it has written everything.

    Raises:
        RuntimeError: it may not, or there was nothing to sample.
    """
    recorder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    time.sleep(_ATTACH_S)
    try:
        yield
    finally:
        recorder.send_signal(signal.SIGINT)
        printed, _ = recorder.communicate()
    if recorder.returncode not in ended or not output.exists():
        raise RuntimeError(f"{name} record: {printed}")
