"""Scopes of Docker's token protocol: `type:resource:action,action`, several with spaces between."""

from __future__ import annotations

from typing import Self

__all__ = ["Scopes"]


class Scopes:
    """A set of permissions. An entry that does not have three parts is kept unchanged, and covers only itself."""

    __slots__ = ("_held",)

    def __init__(self, held: frozenset[tuple[str, str, str]] = frozenset()) -> None:
        self._held = held

    @classmethod
    def parse(cls, text: str) -> Self:
        held: set[tuple[str, str, str]] = set()
        for entry in text.split():
            kind, _, rest = entry.partition(":")
            # A resource may contain a colon, such as a host with a port. Actions contain none.
            resource, _, actions = rest.rpartition(":")
            if not resource or not actions:
                held.add((entry, "", ""))
            else:
                held.update((kind, resource, action) for action in actions.split(",") if action)
        return cls(frozenset(held))

    def __or__(self, other: Scopes) -> Scopes:
        return Scopes(self._held | other._held)

    def __ge__(self, other: Scopes) -> bool:
        """Whether this set allows everything that the other one allows."""
        return self._held >= other._held

    def __bool__(self) -> bool:
        return bool(self._held)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scopes) and self._held == other._held

    def __hash__(self) -> int:
        return hash(self._held)

    def entries(self) -> list[str]:
        """One scope for each resource, sorted, with its actions sorted."""
        actions: dict[tuple[str, str], list[str]] = {}
        for kind, resource, action in sorted(self._held):
            actions.setdefault((kind, resource), []).append(action)
        return [
            f"{kind}:{resource}:{','.join(names)}" if resource else kind for (kind, resource), names in actions.items()
        ]

    def __str__(self) -> str:
        return " ".join(self.entries())
