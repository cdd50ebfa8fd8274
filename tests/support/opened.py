"""A backend that is open already, for a handler that is not to open it again."""

from __future__ import annotations

from typing import Self

from ociserver.compose.wrapper import DeleterOf, ListerOf, ReaderOf, Wrapper, WriterOf

__all__ = ["Opened"]


class Opened(ReaderOf, WriterOf, DeleterOf, ListerOf, Wrapper, reads_nowait=True):
    """Passes everything on but opening and closing, which the owner of the backend does."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """It stays open."""
