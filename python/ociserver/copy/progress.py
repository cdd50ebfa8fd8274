"""Counts the progress of a copy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Progress"]


@dataclass(slots=True)
class Progress:
    """Counters, which grow while a copy runs.

    Args:
        on_change: called after each change. It must be fast.
        blobs_copied: sent to the destination.
        blobs_mounted: mounted from another repository of the destination.
        blobs_existing: were already at the destination.
        manifests_copied: sent to the destination.
        manifests_existing: were already at the destination.
        bytes_sent: bytes of blobs that were sent, including transfers that failed.
        bytes_total: bytes of all blobs that were found so far, by the sizes in manifests.
        bytes_done: bytes of those blobs that were copied, mounted or already there.
    """

    on_change: Callable[[], None] = field(default=lambda: None, compare=False)
    blobs_copied: int = 0
    blobs_mounted: int = 0
    blobs_existing: int = 0
    manifests_copied: int = 0
    manifests_existing: int = 0
    bytes_sent: int = 0
    bytes_total: int = 0
    bytes_done: int = 0

    def add(self, **counts: int) -> None:
        """Add to counters, and call `on_change`."""
        for name, count in counts.items():
            setattr(self, name, getattr(self, name) + count)
        self.on_change()
