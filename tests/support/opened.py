"""A backend that is open already, for a handler that is not to open it again."""

from __future__ import annotations

from typing import Self

from ociserver.compose.wrapper import DeleterOf, ListerOf, ReaderOf, Wrapper, WriterOf

__all__ = ["Opened"]


class Opened(ReaderOf, WriterOf, DeleterOf, ListerOf, Wrapper):
    """Passes everything on, but for opening and closing: that is done by whoever has the backend."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """It stays open."""
