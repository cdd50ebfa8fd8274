"""Runs a sampling program, and stops it after the samples are taken."""

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
        name: the name of the program, for errors.
        command: the command, which samples until it gets a SIGINT.
        output: the file that it writes.
        ended: its exit statuses after it has written everything.

    Raises:
        RuntimeError: it is not permitted to sample, or found nothing to sample.
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
