"""Where `serve` keeps what is pushed: one function for each kind of store that the flags can name."""

from __future__ import annotations

from dataclasses import dataclass

from ociserver.cli.units import format_size
from ociserver.interface import Backend
from ociserver.memory import Memory

__all__ = ["Store", "memory"]


@dataclass(frozen=True, slots=True)
class Store:
    """A backend, and what to tell of it at the start.

    Args:
        backend: not yet open.
        place: where the data is, to end the sentence "data is kept ...".
    """

    backend: Backend
    place: str


def memory(*, max_bytes: int, immutable_tags: bool, lax_child_references: bool) -> Store:
    """A registry in memory."""
    backend = Memory(max_bytes=max_bytes, immutable_tags=immutable_tags, lax_child_references=lax_child_references)
    return Store(backend, f"in memory, {format_size(max_bytes)} at most, and is lost when this process ends")
