"""What all kinds of registries in a file have in common."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ociserver.config.lines import Key
from ociserver.config.values import Part
from ociserver.interface import Backend

__all__ = ["Kind", "given", "pattern_of"]


@dataclass(frozen=True, kw_only=True)
class Kind(Part):
    """What all kinds have in common."""

    @property
    def inner(self) -> Sequence[Kind]:
        """The registries behind it, in order."""
        return ()

    @property
    def places(self) -> Sequence[Sequence[Key]]:
        """For each of `inner`, the keys from this table to its table."""
        return ()

    def build(self, *inner: Backend) -> Backend:
        """Its backend, not yet open.

        Args:
            inner: the backends of the registries behind it.

        Raises:
            ValueError: no backend can be built; the message says what to do.
        """
        raise NotImplementedError

    def takes_push(self, repository: str) -> bool:
        """Whether it accepts a push to a repository, as far as the file says."""
        return all(each.takes_push(repository) for each in self.inner)

    def to_push(self) -> Iterator[str]:
        """Repositories to try a push to. Not all of them need to accept it."""
        for each in self.inner:
            yield from each.to_push()

    def to_pull(self) -> Iterator[str]:
        """Repositories that are known to contain an image."""
        for each in self.inner:
            yield from each.to_pull()


def given(kind: Kind, *names: str) -> dict[str, Any]:
    """The fields that the file sets. The backend has defaults for the others."""
    return {name: value for name in names if (value := getattr(kind, name)) is not None}


def pattern_of(patterns: list[str]) -> re.Pattern[str]:
    """Matches what one of the patterns matches."""
    # Without a pattern nothing matches: `(?!)` never does.
    return re.compile("|".join(map(fnmatch.translate, patterns)) or "(?!)")
