"""What the C library's allocator does with memory that a request has given back."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

from ociserver.store.upload_file import MOST_OF_FEW

__all__ = ["keep_what_is_freed"]

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3

KEPT: Final = MOST_OF_FEW + 3 * 1024 * 1024
"""Bytes that each of glibc's arenas may keep for the next request: what may wait of one upload, and what is received
meanwhile. By itself it keeps twice its largest piece and gives the rest back to the system after each chunk of an
upload, to get it again page by page: PATCHes of 5 MiB then took 1.69 processor seconds for a GB instead of 1.43. With
less beside what waits some processes still did so, for up to 140 page faults a chunk; with this none of 15 did."""

IN_ONE: Final = 2 * 1024 * 1024
"""Bytes from which a piece is the system's own mapping: above the largest that granian receives."""


def keep_what_is_freed() -> None:
    """Do so, where the C library is one that can be told."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, IN_ONE)
        mallopt(M_TRIM_THRESHOLD, KEPT)
