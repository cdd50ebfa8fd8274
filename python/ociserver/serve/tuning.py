"""Settings of the whole process: how often its threads take turns, and what its memory allocator keeps."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from typing import Final

__all__ = ["tune_process"]

SWITCH_INTERVAL_S: Final = 0.001
"""How long a thread that waits for the interpreter waits before it asks for it. With Python's default of 5 ms a push
took 10 ms at p99 beside reads at full load, which do not use the event loop; with 1 ms it took 5, and the reads were as
fast."""

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3

RECEIVED_SIZE: Final = 3 * 1024 * 1024
"""Bytes that are received of an upload while a full buffer of it waits to be written. glibc's arenas keep this, and
such a buffer, for the next request. By default an arena keeps twice its largest piece, and returns the rest to the
system after each chunk of an upload, only to get it again page by page: PATCHes of 5 MiB then took 1.69 CPU seconds for
a GB instead of 1.43. With less than 3 MiB some processes still did so, with up to 140 page faults for each chunk; with
3 MiB none of 15 did."""

MAPPED_SIZE: Final = 2 * 1024 * 1024
"""Bytes from which an allocation is a mapping of its own: more than the largest piece that granian receives."""


def tune_process(*, upload_buffer_size: int) -> None:
    """Set what concerns the whole process.

    Args:
        upload_buffer_size: bytes of one upload that may wait to be written.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    # Only glibc has mallopt.
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, MAPPED_SIZE)
        mallopt(M_TRIM_THRESHOLD, upload_buffer_size + RECEIVED_SIZE)
