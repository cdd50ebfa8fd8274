"""The limit of open files (file descriptors) of this process, and how many connections it allows."""

from __future__ import annotations

import resource
from typing import Final

__all__ = ["DESCRIPTORS_PER_CONNECTION", "SPARE_DESCRIPTORS", "connections_within_limits", "descriptors_for"]

DESCRIPTORS_PER_CONNECTION: Final = 2
"""The socket, and a file that is read from or written to."""

SPARE_DESCRIPTORS: Final = 128
"""For everything else: the log, the event loop, the store."""


def descriptors_for(connections: int) -> int:
    """How many file descriptors a process needs to serve this many connections."""
    return connections * DESCRIPTORS_PER_CONNECTION + SPARE_DESCRIPTORS


def connections_within_limits(wanted: int) -> int:
    """Raise this process's soft limit of open files as far as `wanted` connections need it.

    Returns:
        The number of connections that the limit allows, `wanted` at most. A server that accepts more connections than
        it has descriptors for can only try again and again.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = descriptors_for(wanted)
    if soft != resource.RLIM_INFINITY and soft < needed:
        allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
            soft = allowed
        except (ValueError, OSError):
            # macOS has a further limit of its own (kern.maxfilesperproc); the soft limit then stays.
            pass
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, (soft - SPARE_DESCRIPTORS) // DESCRIPTORS_PER_CONNECTION))
