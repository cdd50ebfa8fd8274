"""Callbacks that need no event loop."""

from __future__ import annotations

from typing import Any

__all__ = ["Anywhere"]


class Anywhere:
    """What may be called in any thread when a future is done, where others have to wait for the event loop's turn.

    A server that finishes its futures in a thread of its own may call it there: a piece of a body then takes a turn
    less. Elsewhere it is called like any other. It must not raise: nobody would hear of it.
    """

    def __call__(self, future: Any, /) -> None:
        """The future is done."""
        raise NotImplementedError
