"""References as people write them: `host/repository:tag@digest` (Go: `ociref`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ociserver._core import parse_reference

__all__ = ["Reference"]


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference to a repository, a tag or a digest, perhaps with a registry. An absent part is ""."""

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a reference that names its host (Go: `ociref.Parse`).

        Raises:
            ValueError: the text is not such a reference. The message says which part is wrong.
        """
        return cls(*parse_reference(text, relative=False))

    @classmethod
    def parse_relative(cls, text: str) -> Self:
        """Parse a reference whose host may be left out (Go: `ociref.ParseRelative`).

        The first element is a host only if it has a dot or a port, or is an `[ipv6]` address, and another element
        follows it.

        Raises:
            ValueError: the text is not such a reference. The message says which part is wrong.
        """
        return cls(*parse_reference(text, relative=True))

    def __str__(self) -> str:
        host = f"{self.host}/" if self.host else ""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{host}{self.repository}{tag}{digest}"
