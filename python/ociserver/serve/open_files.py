"""File descriptors: as many as the connections need, or as many connections as there are descriptors."""

from __future__ import annotations

import resource
from typing import Final

__all__ = ["DESCRIPTORS_PER_CONNECTION", "SPARE_DESCRIPTORS", "connections_within_limits"]

DESCRIPTORS_PER_CONNECTION: Final = 2
"""The socket, and a file that is read from it or written to."""

SPARE_DESCRIPTORS: Final = 128
"""For everything else: the log, the event loop, the store."""


def connections_within_limits(wanted: int) -> int:
    """Raise this process's soft limit of open files as far as `wanted` connections need it, and return how
    many connections it is good for.

    A server that accepts more connections than it has descriptors for can only spin.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted * DESCRIPTORS_PER_CONNECTION + SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < needed:
        allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
            soft = allowed
        except (ValueError, OSError):
            # macOS has a further limit of its own (kern.maxfilesperproc); then it stays as it is.
            pass
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, (soft - SPARE_DESCRIPTORS) // DESCRIPTORS_PER_CONNECTION))
