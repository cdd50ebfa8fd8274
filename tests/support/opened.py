"""A backend that is already open, for a handler that must not open or close it."""

from __future__ import annotations

from typing import Self

from ociserver.compose.wrapper import DeleterOf, ListerOf, ReaderOf, Wrapper, WriterOf

__all__ = ["Opened"]


class Opened(ReaderOf, WriterOf, DeleterOf, ListerOf, Wrapper, reads_nowait=True):
    """Passes on all calls except opening and closing. The owner of the backend does those."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Do nothing: the backend stays open."""
