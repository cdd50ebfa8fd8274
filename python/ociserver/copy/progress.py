"""How far a copy is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Progress"]


@dataclass(slots=True)
class Progress:
    """Counts, which grow while a copy runs.

    Args:
        on_change: called after each change; it must be quick.
        blobs_copied: sent to the destination.
        blobs_mounted: taken by the destination out of another repository of its own.
        blobs_existing: there already.
        manifests_copied: sent to the destination.
        manifests_existing: there already.
        bytes_sent: of blobs, to the destination; those that broke off too.
        bytes_total: of all blobs that were looked for so far, as manifests tell it.
        bytes_done: of these, what was copied, mounted or there.
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
        """Count, and tell."""
        for name, count in counts.items():
            setattr(self, name, getattr(self, name) + count)
        self.on_change()
