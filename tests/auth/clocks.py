"""A clock that a test sets."""

from __future__ import annotations

__all__ = ["Clock"]


class Clock:
    """Seconds, which pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
