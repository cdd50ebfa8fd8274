"""Callbacks of futures, which any thread may call."""

from __future__ import annotations

from typing import Any

__all__ = ["ThreadSafeCallback"]


class ThreadSafeCallback:
    """A callback that the thread which finishes a future may call at once, instead of handing it to the event loop.

    Under `ociserver serve` this saves a turn of the event loop for each piece of a body. Other event loops call it like
    any callback. It must not raise, because nobody would get the exception.
    """

    def __call__(self, future: Any, /) -> None:
        """The future is done."""
        raise NotImplementedError
